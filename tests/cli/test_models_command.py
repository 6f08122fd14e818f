"""`cxr-kd models`: its table and its JSON."""

import json

from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.models.registry import names


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_names_every_network_with_its_figures():
    output = run()
    assert all(name in output for name in names())
    line = next(line for line in output.splitlines() if "eeea_net_c2" in line)
    assert line.split() == ["eeea_net_c2", "CNN", "4,732,838", "0.29", "G", "7x7", "4.70", "M,", "0.30", "G"]


def test_json_for_programs_at_another_size():
    rows = {row["name"]: row for row in json.loads(run("--json", "--image-size", "96"))}
    assert tuple(rows) == names()
    assert rows["densenet161"]["cam_grid"] == [3, 3]
    assert rows["densenet161"]["published"]["macs"] == 7.78e9
    assert rows["eeea_net_c2"]["macs"] < 0.06e9


def test_a_network_that_cannot_take_the_size_has_a_message_and_the_others_are_listed():
    output = run("--image-size", "40")
    assert "visformer_s cannot take images of 40 px" in output
    assert "2x2" in next(line for line in output.splitlines() if "eeea_net_c2" in line)
