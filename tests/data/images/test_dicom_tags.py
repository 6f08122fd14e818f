"""What the tags of a DICOM file say against it, read without its pixels."""

import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from cxr_kd.data.images.dicom_tags import Tags, read_tags


def dicom(path, **tags):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"Modality": "CT"}, "no radiograph (Modality CT)"),
        ({"Modality": "DX", "ViewPosition": "LL"}, "a lateral view (ViewPosition LL)"),
        ({"ViewPosition": "LATERAL"}, "a lateral view"),
        ({"Modality": "CR", "BodyPartExamined": "HAND"}, "not of a chest (BodyPartExamined HAND)"),
        ({"Modality": "CR", "ViewPosition": "AP", "BodyPartExamined": "PORT CHEST"}, ""),
        ({"Modality": "SC", "BodyPartExamined": "THORAX"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_tags_say_what_an_image_is_not(tmp_path, tags, told) -> None:
    against = read_tags(dicom(tmp_path / "a.dcm", **tags)).against
    assert told in against
    assert bool(told) == bool(against)


@pytest.mark.parametrize(("text", "years"), [("007Y", 7), ("018M", 1.5), ("040Y", 40), ("", None), ("old", None)])
def test_the_age_is_in_years(tmp_path, text, years) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about "old"
        file = dicom(tmp_path / "a.dcm", PatientAge=text)
    assert read_tags(file).age == years


def test_other_files_say_nothing(tmp_path) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 9)
    for name in ("a.png", "cut.dcm", "none.dcm"):
        assert read_tags(tmp_path / name) == Tags()
