"""From flags, YAML, a file and %config to one value; every problem at once, with its line."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from mb_jupyter.config import TrainConfig, architectures, resolve
from mb_jupyter.errors import ConfigError
from mb_jupyter.experiment import train


def problems(body: str, **names: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve({}, body, namespace=names)
    return caught.value.cause.splitlines()


def test_every_problem_is_told_at_once_with_its_line():
    found = problems(
        "epocs: 3\nepochs: -1\nseed: true\nepochs: 4\ndata: {{nowhere}}\narchitecture: resnet5\nrecipe: hard"
    )
    assert found == [
        "line 2: there is no setting `epocs`; did you mean `epochs`?",
        "line 3: `epochs` cannot be `-1`; allowed is a whole number from 1 to 10000.",
        "line 4: `seed` cannot be a truth value (true); allowed is a whole number from 0 to 4294967295.",
        "line 5: `epochs` is there twice, first in line 3.",
        "line 6: there is no variable `nowhere` in this notebook.",
        "line 7: `architecture` cannot be `resnet5`; did you mean `resnet50`? "
        "allowed is auto, efficientnet_lite0 or a torchvision classifier.",
        "line 8: `recipe` cannot be `hard`; allowed is auto, features or finetune.",
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("- data\n- epochs", "line 2: is a list; write `key: value` lines."),
        ("data:./flowers", "line 2: is a single value; write `key: value` lines (a colon needs a space after it)."),
        ("data: x\n\tepochs: 3", "line 3: begins with a tab; YAML wants spaces."),
        ("data: [", "line 2: is not YAML: `[` is opened here and never closed."),
        ("epochs: 3\ndata: [a,\n  b\n\n\n", "line 3: is not YAML: `[` is opened here and never closed."),
        ("epochs: 3\ndata: {a: b\n", "line 3: is not YAML: `{` is opened here and never closed."),
        ("data: 'flowers\nepochs: 3\n", "line 2: is not YAML: `'` is opened here and never closed."),
        ('epochs: 3\ndata: "flowers\n\n', 'line 3: is not YAML: `"` is opened here and never closed.'),
        ("epochs: 3\ndata\n", "line 3: is not YAML: could not find expected ':'."),
        ("data: x\nazure: {nodes: 1}\nazure: {compute: gpu}", "line 4: `azure` is there twice, first in line 3."),
        ("data: x\ndata: y", "line 3: `data` is there twice, first in line 2."),
        ("data: [a, b]", "line 2: `data` is a list; allowed is the path of a folder"),
        ("data: x\nazure:\n  comput: gpu", "line 4: there is no setting `azure.comput`; did you mean `compute`?"),
        ("data: x\nazure: gpu", "line 3: `azure` is no mapping; allowed is a mapping of compute, workspace"),
        (
            "data: x\nazure: {nodes: 0}",
            "line 3: `azure.nodes` cannot be `0`; allowed is a whole number of nodes from 1",
        ),
        (
            "data: x\nazure: {sign_in: browser}",
            "line 3: `azure.sign_in` cannot be `browser`; allowed is cli, environment",
        ),
        ("data: x\nazure:\n  nodes: 1\n  nodes: 2", "line 5: `azure.nodes` is there twice, first in line 4."),
        ("data: x\nbackend: azur", "line 3: `backend` cannot be `azur`; allowed is local (this machine) or azure"),
        ("epochs: 3", "`data` is missing: the path of a folder with one subfolder per class"),
        ("data: !!python/object/apply:os.system [ls]", "line 2: `data` is a list"),
        ("data: !!python/name:os.system", "line 2: is not YAML: could not determine a constructor"),
        ("data: x\nexperiment: a/b", "line 3: `experiment` cannot be `a/b`"),
        ("data: x\nepochs: !!int many", "line 3: `many` cannot be read: it is no int; put it into quotes."),
        ("data: x\nmax_minutes: 1:30", "`max_minutes` cannot be `1:30`; for 1:30 write 1.5 (minutes); allowed is a"),
        ("data: x\nmax_minutes: 1:30:00", "for 1:30:00 write 90 (minutes)"),
        ("data: x\nepochs: yes", "line 3: `epochs` cannot be `yes`; allowed is a whole number"),
        ("data: x\nepochs: on", "line 3: `epochs` cannot be `on`"),
        ("data: x\nepochs: 2026-11-29", "line 3: `epochs` cannot be `2026-11-29`"),
        ("data: $folder", "line 2: `data` is `$folder`; write {{folder}} to insert the variable `folder`."),
        ("data: ${folder}/rose", "line 2: `data` is `${folder}/rose`; write {{folder}} to insert"),
        ("data: '{folder}'", "line 2: `data` is `{folder}`; write {{folder}} to insert the variable `folder`."),
        ("data: $PATH/rose", "variables of the environment are not inserted: in Python, PATH = os.environ"),
        ("data: x\nmax_minutes: .inf", "line 3: `max_minutes` cannot be `inf`"),
        ("data: x\nepochs: 2.5", "line 3: `epochs` cannot be `2.5`"),
        ("data: x\nmin_accuracy: 90", "line 3: `min_accuracy` cannot be `90`; allowed is a number from 0 to 1"),
        ("data: x\n? [a]\n: b", "line 3: there is no setting"),
        ("data: *a", "line 2: is not YAML: found undefined alias 'a'."),
        ("data: a\x00b", "line 2: is not YAML: special characters are not allowed."),
        ("data:", "line 2: `data` cannot be empty"),
        ("data: x\nexclude:\n- a.jpg\n- ", "line 3: `exclude` cannot hold an empty item; allowed is a list"),
        ("data: x\ntest_fraction: .6\nvalidation_fraction: .5", "together are 1.1"),
    ],
)
def test_what_is_no_configuration(body: str, said: str):
    assert said in "\n".join(problems(body, folder="flowers"))


def test_what_python_gives_is_checked_the_same():
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"epoch": 3}, "the line: there is no setting `epoch`; did you mean `epochs`?"),
        ({"zzz": 3}, f"the line: there is no setting `zzz`; allowed are {', '.join(TrainConfig.model_fields)}."),
        ({"exclude": [1]}, "the line: `exclude` cannot hold `1`; allowed is a list of pictures to leave out"),
        ({"azure": {"comput": "gpu"}}, "the line: there is no setting `azure.comput`; did you mean `compute`?"),
        ({"azure": {"nodes": "many"}}, "the line: `azure.nodes` cannot be `many`; allowed is a whole number of nodes"),
        ({"data": pd.DataFrame({"ImageSource": ["a.jpg"]})}, "`experiment` is missing: 1 to 128 letters"),
    )
    for wrong, said in cases:
        with pytest.raises(ConfigError) as caught:
            train(**{"data": "x", **wrong})
        assert caught.value.cause.startswith(said)


def test_a_bomb_of_aliases_is_never_built():
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*{'a' if i == 0 else f'b{i - 1}'}, *a]\n" for i in range(60))
    assert problems(bomb)[0] == f"line 2: there is no setting `a`; allowed are {', '.join(TrainConfig.model_fields)}."


def test_the_nearest_wins_and_every_origin_is_kept(tmp_path):
    file = tmp_path / "wide.yaml"
    file.write_text("# a remark\ndata: from_file\nepochs: 3\nseed: 3\npatience: 3\n")
    resolved = resolve(
        {"epochs": "1", "experiment": "flowers"},
        "data: from_body\nepochs: 2\nseed: 2",
        str(file),
        {"epochs": 4, "recipe": "features"},
    )
    config = resolved.config
    assert (config.experiment, config.data, config.epochs, config.seed, config.patience) == (
        "flowers", "from_body", 1, 2, 3,
    )  # fmt: skip
    assert {key: resolved.origins[key] for key in ("epochs", "data", "seed", "patience", "recipe", "image_size")} == {
        "epochs": "the line",
        "data": "line 2",
        "seed": "line 4",
        "patience": "wide.yaml, line 5",
        "recipe": "%config MBMagics",
        "image_size": "default",
    }


def test_a_section_is_put_together_from_every_place(tmp_path):
    file = tmp_path / "azure.yaml"
    file.write_text("data: x\nbackend: azure\nazure: {workspace: ws, compute: cpu}\nmax_cost: 3\n")
    resolved = resolve({}, "azure:\n  compute: {{name}}\n", str(file), namespace={"name": "gpu"})
    config = resolved.config
    assert (config.azure.workspace, config.azure.compute, config.azure.nodes, config.max_cost) == ("ws", "gpu", 1, 3.0)
    assert resolved.origins["azure.compute"] == "line 3"
    assert resolved.origins["azure.workspace"] == "azure.yaml, line 3"
    assert config.shown()["azure"] == {"compute": "gpu", "workspace": "ws"}
    assert resolve({"data": "x", "azure": {"compute": "gpu"}}).config.azure.compute == "gpu"
    assert resolve(config.model_dump()).config.azure.compute == "gpu"
    assert "azure" not in config.program_settings() and "max_cost" not in config.program_settings()
    with pytest.raises(ConfigError, match=r"there is no setting `azure\.comput`"):
        resolve({"data": "x", "azure": {"comput": "gpu"}})


def test_a_file_is_named_in_its_problems(tmp_path):
    file = tmp_path / "odd name.yaml"
    file.write_text("epochs: none\n")
    with pytest.raises(ConfigError, match=r"odd name\.yaml, line 1: `epochs` cannot be `none`"):
        resolve({"data": "x"}, file=str(file))
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        resolve({"data": "x"}, file=str(tmp_path / "missing.yaml"))


def test_variables_are_data_and_never_yaml():
    evil = "x]: {epochs: 1}\nseed: 9 # {{other}}"
    config = resolve({}, "data: {{folder}}/photos\nepochs: {{ n }}", namespace={"folder": evil, "n": 7}).config
    assert config.data == f"{evil}/photos"
    assert config.epochs == 7
    assert config.seed == 0


def test_a_variable_alone_keeps_its_type():
    frame = pd.DataFrame({"ImageSource": ["a.jpg"], "Label": ["a"]})
    config = resolve({"experiment": "table"}, "data: {{frame}}", namespace={"frame": frame}).config
    assert config.data is frame
    assert config.shown()["data"] == "a table of 1 pictures"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("./flower_photos", "flower_photos"),
        ("/tmp/My Blümchen (new)/", "My-Blümchen-new"),
        ("/tmp/My Blu\u0308mchen", "My-Blümchen"),
        ("꽃 사진", "꽃-사진"),
        ("花卉.v2", "花卉-v2"),
        ("زهور", "زهور"),
        ("🌹 roses", "🌹-roses"),
        ("./con", "con-images"),
        ("aux.csv", "aux-images"),
        ("---", "images"),
        ("C:\\Users\\me", "C-Users-me"),
        ("photos/labels.csv", "labels"),
        ("写真", "写真"),
    ],
)
def test_the_experiment_is_called_as_the_data(data: str, name: str):
    assert resolve({"data": data}).config.experiment == name


def test_numbers_as_people_write_them():
    config = resolve({"data": "x"}, "learning_rate: 1e-3\nmax_minutes: 1\nweights: null").config
    assert (config.learning_rate, config.max_minutes, config.weights) == (0.001, 1.0, None)


@pytest.mark.parametrize("epochs", ["10", "010", "+10", "0xA", "0o12", "10.0", "1_0"])
@pytest.mark.parametrize("text", ["1.5", "01.5", "+1.5", "15e-1", "1:30", "yes", ".inf", "1_0.0", "0b11"])
def test_the_same_text_means_the_same_in_the_body_and_on_the_line(epochs: str, text: str):
    def value(key: str, line: dict[str, str], body: str = "") -> Any:
        try:
            return getattr(resolve({"data": "x", **line}, body).config, key)
        except ConfigError:
            return "refused"

    assert value("epochs", {}, f"epochs: {epochs}") == value("epochs", {"epochs": epochs}) == 10
    assert value("max_minutes", {}, f"max_minutes: {text}") == value("max_minutes", {"max_minutes": text})


@pytest.mark.parametrize(
    "text", ["007", "1_000", "0x10", "1:30", "2026-11-29", "yes", "no", "on", "1.50", "true", "1e3"]
)
def test_what_is_meant_as_text_stays_text(text: str):
    body = f"data: {text}\nweights: {text}\nexclude: [{text}]\nazure: {{compute: {text}}}"
    config = resolve({"experiment": "x"}, body).config
    assert (config.data, config.weights, config.exclude, config.azure.compute) == (text, text, (text,), text)
    assert resolve({"experiment": "x", "data": text}).config.data == text
    assert resolve({}, "data: x\nexperiment: 2024").config.experiment == "2024"


def test_null_is_nothing_wherever_it_is_written():
    for empty in ("", "~", "null", "Null", "NULL"):
        assert resolve({}, f"data: x\nweights: {empty}\nexclude: {empty}").config.weights is None
    assert resolve({}, "data: x\nweights: 'null'").config.weights == "null"


def test_an_empty_body_is_a_body():
    assert resolve({"data": "x"}, "\n# only a remark\n").config.epochs == 12


def test_a_configuration_cannot_be_changed():
    config = resolve({"data": "x"}).config
    with pytest.raises(ValidationError):
        config.epochs = 3


def test_the_networks_are_known_without_torch():
    names = architectures()
    assert {"auto", "efficientnet_lite0", "resnet50", "mobilenet_v3_small", "vit_b_16"} <= set(names)
    assert not {"fasterrcnn_resnet50_fpn", "deeplabv3_resnet50", "register_model"} & set(names)


def test_they_are_those_of_torchvision():
    import torchvision.models as home
    from torchvision.models import list_models

    assert set(architectures()[2:]) == set(list_models(module=home))


def test_the_program_understands_every_setting():
    from mb_jupyter.training.settings import Settings

    settings = resolve({"data": "x", "weights": "w.pth"}).config.program_settings()
    told = Settings.from_dict({**settings, "run": "local://a/b", "fingerprint": "f"})
    defaults = Settings()
    for key in settings:
        if key != "weights":
            assert getattr(told, key) == getattr(defaults, key), f"the default of {key} differs"
