"""The names of the projects: any name of a run becomes one that every system and package index takes."""

from __future__ import annotations

import re

import pytest

from mb_jupyter.errors import ExportError
from mb_jupyter.export import names


@pytest.mark.parametrize(
    ("given", "folder", "package"),
    [
        ("flowers", "FlowersModel", "flowers_model"),
        ("flower photos 2026", "FlowerPhotos2026Model", "flower_photos_2026_model"),
        ("flower_photos", "FlowerPhotosModel", "flower_photos_model"),
        ("flowerPhotos", "FlowerPhotosModel", "flower_photos_model"),
        ("HTMLPages", "HTMLPagesModel", "html_pages_model"),
        ("Blüten & Bäume", "BlutenBaumeModel", "bluten_baume_model"),
        ("Straße Øst œuvre", "StrasseOstOeuvreModel", "strasse_ost_oeuvre_model"),
        ("class", "ClassModel", "class_model"),
        ("import", "ImportModel", "import_model"),
        ("None", "NoneModel", "none_model"),
        ("2026 trees", "Pictures2026TreesModel", "pictures_2026_trees_model"),
        ("花", "PicturesModel", "pictures_model"),
        ("꽃 사진", "GgocSajinModel", "ggoc_sajin_model"),
        ("さくら", "SakuraModel", "sakura_model"),
        ("../../etc/passwd", "EtcPasswdModel", "etc_passwd_model"),
        ("my model", "MyModel", "my_model"),
        ('"; rm -rf / #', "RmRfModel", "rm_rf_model"),
        ("{{package}}", "PackageModel", "package_model"),
    ],
)
def test_any_name_becomes_names_that_everything_takes(given: str, folder: str, package: str) -> None:
    found = names.choose(given)
    assert (found.folder("Model"), found.package("Model")) == (folder, package)
    for name in (found.package("Model"), found.package("ConsoleApp"), found.package("Api")):
        assert name.isidentifier() and name.isascii()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-predict", found.program)


def test_a_name_that_could_not_stay_is_said() -> None:
    assert names.choose("flowers").note == names.choose("flower_photos").note == ""
    assert names.choose("Blüten & Bäume").note.startswith("'Blüten & Bäume' became BlutenBaume")
    assert len(names.choose("long " * 100).snake) <= names.LONGEST
    assert len(names.choose("x" * 300).camel) <= names.LONGEST
    with pytest.raises(ExportError, match="empty"):
        names.choose("  ")
