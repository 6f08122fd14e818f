"""`python -m cxr_kd.cli`: the command line as a module, which `accelerate launch -m` can start."""

from cxr_kd.cli.main import app

app()
