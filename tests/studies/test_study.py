"""Study files: those of the repository hold together, wrong ones are refused in one line that says where."""

from pathlib import Path

import pytest
import yaml

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.models.builtin import weights_on_disk
from pipeline.shards.schema import PLAN_NAME
from pipeline.studies.plan import make_plan
from pipeline.studies.reading import load_study, runs_name, study_names
from pipeline.studies.rows import Base, Given
from pipeline.studies.study import dotted, merged
from stages.study.plan import Wanted, resolve

STUDY = {
    "title": "Small",
    "source": "a test",
    "parameters": {"data": {"dataset": "walkers"}},
    "seeds": [0, 1],
    "reference": "baseline",
    "methods": {"baseline": None, "ccaf": {"encoder": {"lambda_con": 0.5}}},
    "tuning": {"seeds": [100, 101], "grid": {"encoder.learning_rate": [0.1, 0.2]}},
}


@pytest.fixture
def load(tmp_path):
    def write(**changes):
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **changes}))
        return load_study(str(path))

    return write


WITH_I2T = ["clip-reid+redress", "i2t+redress", "ccaf+redress", "ccaf-plus+redress"]
BLENDED = [f"{name}+blend" for name in WITH_I2T]
METHODS = {
    "walkers": ["baseline", "clip-reid", "cal", "i2t", "i2t+i2i", "ccaf", "ccaf-plus", *WITH_I2T, *BLENDED],
    "table3": ["baseline", "i2t", "i2t+i2i", "ccaf"],
    "table4": ["ccaf", "ccaf-onehot", "ccaf-onehot-no-shielding-i2t", "ccaf-onehot-no-i2t"],
    "fig4": ["ccaf"],
    "redress": ["clip-reid", "clip-reid+redress", "ccaf", "ccaf+redress", "ccaf-plus", "ccaf-plus+redress"],
    "walkers-hard": ["clip-reid", "clip-reid+redress", "ccaf", "ccaf+redress", "ccaf-plus", "ccaf-plus+redress"],
    "tradeoff": ["clip-reid", "cal", "i2t", "ccaf", "ccaf-plus", *WITH_I2T],
}


def test_the_studies_of_the_paper_exist():
    assert set(study_names()) >= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("quick", [False, True])
def test_a_packaged_study_makes_a_plan_of_its_methods(name, quick, tmp_path):
    study = load_study(name)
    assert list(study.methods) == METHODS[name]
    plan = make_plan(study.quickened() if quick else study, tmp_path, Base(), None, {})
    assert [row.name for row in plan.rows if row.kind == "method"] == METHODS[name]


@pytest.mark.parametrize("name", ["redress", "walkers-hard", "tradeoff"])
def test_a_row_with_redressed_views_is_the_same_in_every_study(name):
    study, walkers = load_study(name), load_study("walkers")
    rows = [row for row in study.methods if row.endswith("+redress")]
    assert rows
    for row in rows:
        assert study.methods[row] == walkers.methods[row] != {}
        assert study.tuned[row] == walkers.tuned[row]


@pytest.mark.parametrize("row", WITH_I2T)
def test_a_blended_row_is_the_row_with_redressed_views_blended(row):
    study = load_study("walkers")
    blend = {"blend.trained_share": 0.9, "blend.clip_weight": 0.15}
    assert study.methods[f"{row}+blend"] == {**study.methods[row], **blend}
    assert study.tuned[f"{row}+blend"] == study.tuned[row]


def test_a_method_that_is_only_named_is_that_of_the_study_that_this_one_is_like(load, tmp_path):
    load(methods={"baseline": None, "mine": {"encoder.method": "ccaf", "encoder.pad": 3}}, tuned={}, tuning=None)
    tree = {"title": "x", "source": "a test", "like": "small.yaml", "reference": []}
    for own, expected in ((None, {"encoder.method": "ccaf", "encoder.pad": 3}), ({"encoder.method": "i2t"},) * 2):
        (tmp_path / "other.yaml").write_text(yaml.safe_dump({**tree, "methods": {"baseline": None, "mine": own}}))
        study = load_study(str(tmp_path / "other.yaml"))
        assert study.methods == {"baseline": None, "mine": expected}


def test_figure_4_has_the_papers_values():
    sweeps = {sweep.parameter: sweep.values for sweep in load_study("fig4").sweeps}
    assert sweeps == {
        "encoder.lambda_con": (0.01, 0.1, 0.4, 0.6, 0.8, 1.0),
        "encoder.lambda_dis": (0.1, 0.2, 0.6, 1.0, 1.4, 1.8),
    }


@pytest.mark.parametrize("quick", [False, True])
def test_the_trade_goes_over_the_shares_of_blend_on_people_of_no_other_table(quick, tmp_path):
    whole = load_study("tradeoff")
    study = whole.quickened() if quick else whole
    walkers = load_study("walkers")
    assert set(study.seeds) >= set(walkers.tuning.seeds)
    assert not set(study.seeds) & set(walkers.seeds), "they are in no other table"
    plan = make_plan(study, tmp_path, Base(), None, {})
    for sweep in plan.sweeps:
        section, *keys = sweep.parameter.split(".")
        for value, name in sweep.points:
            row = next(row for row in plan.rows if row.name == name)
            found = plan.steps[row.runs[100].metrics].parameters.model_dump()[section]
            for key in keys:
                found = found[key]
            assert found == value
    usual = make_plan((walkers.quickened() if quick else walkers).with_methods(("ccaf",)), tmp_path, Base(), None, {})
    assert plan.steps["clip"].made_of == usual.steps["clip"].made_of
    usual = make_plan(walkers.with_methods(("ccaf",)), tmp_path, Base(), None, {})
    assert plan.steps["seed-100/data"].made_of == {**usual.steps["seed-0/data"].made_of, "seed": 100}


def test_the_papers_tables_stand_beside():
    table3, table4 = load_study("table3").paper, load_study("table4").paper
    assert table3["PRCC"]["i2t+i2i"] == (69.6, 63.6)
    assert table3["LTCC"]["ccaf"] == table4["LTCC"]["ccaf"] == (42.9, 20.1)
    assert table4["LTCC"]["ccaf-onehot-no-i2t"] == (35.7, 17.6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds: []: give one or several"),
        ({"seeds": [0, 0]}, "seeds: [0, 0]: give one or several"),
        ({"seeds": [0, 100]}, "seed 100 is in both seeds and tuning.seeds"),
        ({"clip_seed": 1}, "clip_seed 1 is also a seed of data"),
        ({"clip_seed": 101}, "clip_seed 101 is also a seed of data"),
        ({"quick": {"seeds": [101]}}, "seed 101 is in both"),
        ({"reference": ["triplet"]}, "reference: triplet is none of the methods baseline, ccaf"),
        ({"tuned": {"ccfa": {}}}, "tuned: ccfa is none of the methods"),
        ({"sweeps": [{"parameter": "encoder.pad", "values": [1, 2], "method": "x"}]}, "sweeps: x is none"),
        ({"sweeps": [{"parameter": "encoder.pad", "values": [1], "method": "ccaf"}]}, "sweeps.0.values"),
        ({"methods": {"a/b": None}}, "'a/b' cannot be the name of a method"),
        ({"methods": {"oracle-x": None}}, "'oracle-x' cannot be the name of a method"),
        ({"methods": {"frozen": None}}, "'frozen' cannot be the name of a method"),
        ({"colour": "blue"}, "colour: there is no such key"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(load, changes, message):
    with pytest.raises(InputError) as caught:
        load(**changes)
    assert message in str(caught.value)
    assert "small.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"encoder": {"epoch": 3}}}, "encoder.epoch is not a parameter; did you mean encoder.epochs"),
        ({"methods": {"baseline": {"encoder.lamda_con": 1}}}, "method baseline: encoder.lamda_con is not a parameter"),
        ({"methods": {"baseline": {"encoder.method": "magic"}}}, "unknown method"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_method(load, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        make_plan(load(**changes), tmp_path, Base(), None, {})


def test_an_unknown_study_lists_the_known_ones():
    with pytest.raises(InputError, match=r"study 'table9' is not known; known are .*table3"):
        load_study("table9")
    with pytest.raises(InputError, match=r"study file not found: nowhere\.yaml"):
        load_study("nowhere.yaml")


def test_seeds_of_the_command_line_are_checked_too(load):
    assert load().with_seeds((5, 6)).seeds == (5, 6)
    for seeds, message in (((100,), "both seeds and tuning.seeds"), ((1000,), "clip_seed"), ((-1,), "whole numbers")):
        with pytest.raises(InputError, match=message):
            load().with_seeds(seeds)


def test_a_choice_of_methods_keeps_the_studys_order(load):
    study = load(sweeps=[{"parameter": "encoder.pad", "values": [1, 2], "method": "baseline"}])
    assert list(study.with_methods(("ccaf", "baseline")).methods) == ["baseline", "ccaf"]
    alone = study.with_methods(("ccaf",))
    assert (list(alone.methods), alone.reference, alone.sweeps) == (["ccaf"], (), ())
    with pytest.raises(InputError, match="--methods: cfa is none of the study's methods"):
        study.with_methods(("cfa",))


def test_the_small_form_changes_what_it_names(load):
    study = load(
        parameters={"encoder": {"epochs": 9, "pad": 3}},
        quick={"seeds": [1], "methods": ["ccaf"], "parameters": {"encoder": {"epochs": 1}}},
        reference=[],
    ).quickened()
    assert (study.seeds, list(study.methods)) == ((1,), ["ccaf"])
    assert study.parameters == {"encoder.epochs": 1, "encoder.pad": 3}
    with pytest.raises(InputError, match="--quick: the study has no section quick"):
        load().quickened()


def test_sections_and_dotted_keys_are_the_same():
    assert dict(dotted({"encoder": {"pad": 1}, "seed": 2})) == dict(dotted({"encoder.pad": 1, "seed": 2}))
    assert merged({"encoder": {"pad": 1, "epochs": 2}}, {"encoder.pad": 3}) == {"encoder.pad": 3, "encoder.epochs": 2}
    assert dict(dotted({"encoder": {"weights": {"i2t": 2}}})) == {"encoder.weights": {"i2t": 2}}


def test_a_study_has_the_setting_of_the_one_that_it_is_like(load, tmp_path):
    load(
        parameters={"encoder": {"epochs": 9, "pad": 3}},
        tuned={"ccaf": {"encoder.learning_rate": 0.5}, "baseline": {"encoder.learning_rate": 0.25}},
        quick={"seeds": [1], "parameters": {"encoder": {"epochs": 1}}},
    )
    own = {
        "title": "Mine", "source": "a test", "like": "small.yaml", "methods": {"ccaf": None, "i2t": None},
        "parameters": {"encoder.pad": 4}, "tuned": {"i2t": {"encoder.learning_rate": 0.1}},
        "quick": {"parameters": {"prompts.epochs": 2}},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    study = load_study(str(tmp_path / "mine.yaml"))
    assert dict(dotted(study.parameters)) == {"encoder.epochs": 9, "encoder.pad": 4}
    assert study.tuned == {"ccaf": {"encoder.learning_rate": 0.5}, "i2t": {"encoder.learning_rate": 0.1}}
    assert (study.seeds, study.quick.seeds, study.tuning.seeds) == ((0, 1), (1,), (100, 101))
    assert dict(dotted(study.quick.parameters)) == {"encoder.epochs": 1, "prompts.epochs": 2}
    assert (study.title, list(study.methods), study.reference) == ("Mine", ["ccaf", "i2t"], ())


@pytest.mark.parametrize(("changes", "message"), [
    ({"protocols": ["cc", "ccc"]}, "ccc is no protocol"),
    (
        {"sweeps": [{"parameter": "encoder.lambda_con", "values": [0.1, 0.1], "method": "ccaf"}]},
        "a value comes twice",
    ),
])  # fmt: skip
def test_what_would_be_ignored_is_refused(load, changes, message):
    with pytest.raises(InputError, match=message):
        load(**changes)


def test_studies_of_one_setting_share_their_runs(load, tmp_path):
    load()
    for name, like in (("mine", "small.yaml"), ("yours", "mine.yaml")):
        tree = {"title": name, "source": "a test", "like": like, "methods": {"ccaf": None}, "reference": "ccaf"}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        assert runs_name(str(tmp_path / f"{name}.yaml")) == "small"
    assert [runs_name(name) for name in ("walkers", "table3", "table4", "fig4", "tradeoff")] == ["walkers"] * 5

    tree = {"title": "x", "source": "a test", "like": "mine.yaml", "methods": {"ccaf": None}, "reference": "ccaf"}
    for name, own in (("hard", {"parameters": {"synth.cameras": 6}}), ("other", {"clip_seed": 7})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**tree, **own}))
        assert runs_name(str(tmp_path / f"{name}.yaml")) == name  # its shards are not those of the other
    assert runs_name("walkers-hard") == "walkers-hard"

    resolved = resolve("yours", load_study(str(tmp_path / "yours.yaml")), Wanted(), None, True, "small")
    assert (resolved.folder.name, resolved.tables.name) == ("small-quick", "yours-quick")
    resolved = resolve("yours", load_study(str(tmp_path / "yours.yaml")), Wanted(), tmp_path, False, "small")
    assert resolved.folder == resolved.tables == tmp_path


def test_shards_that_a_killed_study_began_are_gone_on_with_and_anything_else_is_refused(tmp_path):
    def given_by(shards):
        wanted = Wanted(dataset="prcc", root=tmp_path, params=Path("preset:prcc"), shards=shards)
        return resolve("table3", load_study("table3"), wanted, tmp_path / "out", False).given

    for person in range(1, 33):  # enough for a batch of the preset
        for outfit in "ABC":
            for folder in (f"train/{person:03d}", f"val/{person:03d}", f"test/{outfit}/{person:03d}"):
                place = tmp_path / "prcc/rgb" / folder
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{outfit}_1.jpg").touch()
    assert given_by(tmp_path / "none").shards_sha256 is None
    (tmp_path / "begun").mkdir()
    assert given_by(tmp_path / "begun").shards_sha256 is None
    (tmp_path / "begun" / PLAN_NAME).write_text("{}")
    (tmp_path / "begun" / "part-00000-of-00002.parquet").write_text("")
    assert given_by(tmp_path / "begun").shards_sha256 is None
    (tmp_path / "begun" / PLAN_NAME).rename(tmp_path / "begun" / "other")
    for wrong in (tmp_path / "begun", tmp_path / "begun" / "other"):
        with pytest.raises(InputError, match="no finished shards in"):
            given_by(wrong)


def test_rows_are_blended_where_the_study_says_so_and_not_by_the_parameter_file(tmp_path):
    """The file of one's own encoder, as the repository's, may say how that one is blended."""
    (tmp_path / "params.yaml").write_text("data: {dataset: walkers}\nblend: {clip_weight: 0.1}\n")
    for name, blended in (("table3", 0), ("walkers", len(BLENDED))):
        resolved = resolve(name, load_study(name), Wanted(params=tmp_path / "params.yaml"), tmp_path / name, False)
        plan = make_plan(resolved.study, resolved.folder, resolved.base, resolved.given, {})
        steps = [step for step in plan.steps.values() if step.kind == "blend"]
        assert len(steps) == blended * len(resolved.study.seeds)


def test_a_key_that_is_no_text_is_refused_in_one_line(load, tmp_path):
    load()
    tree = {"title": "x", "source": "y", "like": "small.yaml", "methods": {"ccaf": None}, "parameters": {1: 2}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match=r"mine\.yaml: parameters\.1: Input should be a valid string"):
        load_study(str(tmp_path / "mine.yaml"))


def test_equal_runs_of_two_studies_are_the_same_steps(tmp_path):
    whole, part = (make_plan(load_study(name), tmp_path, Base(), None, {}) for name in ("walkers", "table3"))
    for row in part.rows:
        step = part.steps[row.runs[0].metrics]
        assert whole.steps[step.name] == step


def test_studies_that_are_like_each_other_are_refused(tmp_path):
    for name, like in (("a", "b.yaml"), ("b", "a.yaml")):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"title": name, "like": like}))
    with pytest.raises(InputError, match="leads back to itself"):
        load_study(str(tmp_path / "a.yaml"))


def test_the_papers_studies_have_the_setting_of_walkers():
    walkers = load_study("walkers")
    for name in ("table3", "table4", "fig4"):
        study = load_study(name)
        assert study.parameters == walkers.parameters
        assert study.clip_seed == walkers.clip_seed
        shared = study.tuned.keys() & walkers.tuned.keys()
        assert {key: study.tuned[key] for key in shared} == {key: walkers.tuned[key] for key in shared}


def test_walkers_may_start_from_the_clip_that_comes_with_the_program(load, tmp_path):
    study = load(parameters={"data": {"dataset": "walkers"}, "model": {"name": "walker-clip"}})
    chosen = [("model.pretrained", "builtin:walker-clip")]
    plan = make_plan(study, tmp_path, Base(overrides=chosen), None, {})
    assert not [name for name, step in plan.steps.items() if step.kind in ("clip", "population")]
    step = plan.steps["seed-0/methods/ccaf/encoder"]
    assert step.parameters.model.pretrained == "builtin:walker-clip"
    assert step.made_of["model"]["weights"] == sha256_of_file(weights_on_disk("builtin:walker-clip"))
    assert step.parameters.data.root == str(tmp_path / "seed-0" / "data")
    usual = make_plan(study, tmp_path, Base(), None, {})
    assert usual.steps["clip"].kind == "clip"
    assert usual.steps["seed-0/methods/ccaf/encoder"].inputs["clip"] == "clip"
    wanted = Wanted(overrides=("model.pretrained=builtin:walker-clip",))
    assert resolve("small", study, wanted, tmp_path, False).given is None
    with pytest.raises(InputError, match=r"leave out --set model\.pretrained, or give one of builtin:walker-clip"):
        resolve("small", study, Wanted(overrides=("model.pretrained=openai",)), tmp_path, False)


def test_a_study_of_photographs_asks_for_a_data_set_and_has_parameters_for_any(tmp_path, monkeypatch):
    study = load_study("redressed")
    with pytest.raises(InputError, match="redressed is for a data set of photographs and renders none: name it by"):
        resolve("redressed", study, Wanted(), tmp_path, False)
    monkeypatch.setattr("stages.study.plan._given", lambda parameters, shards: Given(shards, "0" * 64, "a clip"))
    wanted = Wanted(dataset="market1501", root=tmp_path)
    resolved = resolve("redressed", study, wanted, None, False)
    assert (resolved.folder.name, resolved.given.shards.parts[-2:]) == (
        "redressed-market1501",
        ("market1501", "shards"),
    )
    plan = make_plan(study, tmp_path, resolved.base, resolved.given, {})
    assert plan.parameters.model.pretrained == "openai"
    redressed = {row.name for row in plan.rows if row.changes.get("encoder.redress")}
    assert redressed == {"clip-reid+redress", "ccaf+redress", "ccaf-plus+redress"}
    assert not [step for step in plan.steps.values() if step.kind in ("data", "clip", "oracle")]
