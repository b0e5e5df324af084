"""The plan of a study: what is shared, what depends on what, and that a change repeats nothing else."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.files import sha256_of_value
from pipeline.studies.plan import make_plan, make_tuning_plan
from pipeline.studies.rows import Base, Given
from pipeline.studies.schedule import Schedule
from pipeline.studies.study import Study

FOLDER = Path("/nowhere/study")


def make_study(**changes) -> Study:
    values = {
        "title": "Small",
        "source": "a test",
        "parameters": {"model": {"name": "walker-clip"}, "encoder": {"epochs": 2}},
        "seeds": [0, 1],
        "reference": ["baseline"],
        "methods": {"baseline": None, "clip-reid": None, "ccaf": None},
        "sweeps": [{"parameter": "encoder.lambda_con", "values": [0.1, 0.5], "method": "ccaf"}],
        "tuning": {"seeds": [100], "grid": {"encoder.learning_rate": [0.1, 0.2], "encoder.pad": [1, 2]}},
    }
    return Study.model_validate(values | changes)


def plan_of(study: Study | None = None, base: Base | None = None, given: Given | None = None, code=None):
    return make_plan(study or make_study(), FOLDER, base or Base(), given, code or {})


def names(plan, kind: str) -> list[str]:
    return [name for name, step in plan.steps.items() if step.kind == kind]


def test_what_runs_share_is_in_the_plan_once():
    plan = plan_of()
    assert names(plan, "population") == ["population"]
    assert names(plan, "clip") == ["clip"]
    for kind in ("data", "shards"):
        assert names(plan, kind) == [f"seed-0/{kind}", f"seed-1/{kind}"]
    assert sorted(names(plan, "prompts")) == [
        f"seed-{seed}/prompts-{images}" for seed in (0, 1) for images in ("raw", "shielding")
    ]
    assert len(names(plan, "encoder")) == 2 * 4  # three methods, and one point of the sweep that is no method


def test_a_point_of_a_sweep_that_equals_a_method_is_the_methods_run():
    rows = {row.name: row for row in plan_of().rows}
    for seed in (0, 1):
        assert rows["ccaf@encoder.lambda_con=0.1"].runs[seed].metrics == rows["ccaf"].runs[seed].metrics
        assert rows["ccaf@encoder.lambda_con=0.5"].runs[seed].metrics != rows["ccaf"].runs[seed].metrics


def test_blended_encoders_are_made_of_one_training():
    sweep = {"parameter": "blend.clip_weight", "values": [0.0, 0.1, 0.2], "method": "ccaf"}
    blended = {"encoder.method": "ccaf", "blend.clip_weight": 0.1}
    plan = plan_of(make_study(methods={"baseline": None, "ccaf": None, "blended": blended}, sweeps=[sweep]))
    own = [name for name in plan.steps if name.startswith("seed-0/")]
    assert [name for name in own if plan.steps[name].kind == "encoder"] == [
        f"seed-0/methods/{method}/encoder" for method in ("baseline", "ccaf")
    ]
    made = [name for name in own if plan.steps[name].kind == "blend"]
    assert made == ["seed-0/methods/blended/blended", "seed-0/methods/ccaf@blend.clip_weight=0.2/blended"]
    for name in made:
        assert plan.steps[name].inputs == {"clip": "clip", "encoder": "seed-0/methods/ccaf/encoder"}
        features = plan.steps[f"{name.removesuffix('/blended')}/features.parquet"]
        assert features.inputs["encoder"] == name
    assert plan.steps["seed-0/methods/ccaf/features.parquet"].inputs["encoder"] == "seed-0/methods/ccaf/encoder"
    rows = {row.name: row.runs[0] for row in plan.rows}
    assert rows["ccaf@blend.clip_weight=0.1"].metrics == rows["blended"].metrics
    assert rows["ccaf@blend.clip_weight=0.0"].metrics == rows["ccaf"].metrics
    assert {rows[name].encoder for name in ("ccaf", "blended")} == {"seed-0/methods/ccaf/encoder"}


def test_every_step_comes_after_its_inputs_and_reads_their_artifacts():
    plan = plan_of()
    seen = set()
    for name, step in plan.steps.items():
        assert set(step.inputs.values()) <= seen
        assert {role: plan.steps[other].out for role, other in step.inputs.items()}.items() <= step.places.items()
        seen.add(name)


def test_data_and_training_have_the_seed_and_the_clip_its_own():
    plan = plan_of(make_study(clip_seed=77))
    for name, step in plan.steps.items():
        expected = int(name.split("/")[0].removeprefix("seed-")) if name.startswith("seed-") else 77
        assert step.parameters.seed == expected
    assert {step.parameters.model.pretrained for name, step in plan.steps.items() if step.kind == "encoder"} == {
        str(FOLDER / "clip" / "weights.safetensors")
    }


def test_the_renderings_own_label_maps_are_found_by_the_parser_precomputed():
    plan = plan_of(make_study(parameters={"parse": {"parser": "precomputed"}}))
    step = plan.steps["seed-1/shards"]
    assert step.parameters.parse.settings == {"root": str(FOLDER / "seed-1" / "data" / "walkers" / "labels")}
    assert "root" not in str(step.made_of)


def test_prompts_of_another_recipe_have_a_place_of_their_own():
    plan = plan_of(make_study(methods={"baseline": None, "ccaf": None, "long": {
        "encoder.method": "ccaf", "prompts.epochs": 7}}))  # fmt: skip
    found = [name for name in names(plan, "prompts") if name.startswith("seed-0/")]
    assert found[0] == "seed-0/prompts-shielding"
    assert len(found) == 2
    assert found[1].startswith("seed-0/prompts-shielding-")


def test_texts_of_images_count_by_what_is_in_their_file(tmp_path):
    first, copy = tmp_path / "first.parquet", tmp_path / "copy.parquet"
    for path in (first, copy):
        path.write_bytes(b"texts")

    def encoders(path: Path) -> dict[str, str]:
        changes = {"encoder.method": "captions", "encoder.captions": str(path)}
        plan = plan_of(make_study(methods={"baseline": None, "ccaf": None, "texts": changes}))
        return {name: plan.steps[name].fingerprint for name in names(plan, "encoder")}

    before = encoders(first)
    assert encoders(copy) == before
    first.write_bytes(b"other texts")
    after = encoders(first)
    assert {name for name in before if after[name] != before[name]} == {
        f"seed-{seed}/methods/texts/encoder" for seed in (0, 1)
    }
    with pytest.raises(InputError, match=r"encoder\.captions: .*nowhere\.parquet cannot be read"):
        encoders(tmp_path / "nowhere.parquet")


def test_the_users_file_takes_the_place_of_the_studys_parameters_and_tuned_values():
    study = make_study(tuned={"ccaf": {"encoder.learning_rate": 0.5}}, parameters={"encoder": {"epochs": 9, "pad": 1}})
    own = plan_of(study).steps["seed-0/methods/ccaf/encoder"].parameters.encoder
    assert (own.learning_rate, own.epochs, own.pad) == (0.5, 9, 1)
    base = Base({"encoder": {"learning_rate": 0.25}}, [("encoder.epochs", 3)])
    theirs = plan_of(study, base).steps["seed-0/methods/ccaf/encoder"].parameters.encoder
    assert (theirs.learning_rate, theirs.epochs, theirs.pad) == (0.25, 3, 10)
    over = plan_of(study, Base(None, [("encoder.epochs", 3)])).steps["seed-0/methods/ccaf/encoder"].parameters.encoder
    assert (over.learning_rate, over.epochs, over.pad) == (0.5, 3, 1)


@pytest.mark.parametrize(("sha", "parsed"), [(None, True), ("abc", False)])
def test_another_data_set_is_neither_rendered_nor_pretrained_on(sha, parsed):
    plan = plan_of(base=Base({"data": {"dataset": "prcc"}}), given=Given(Path("/data/shards"), sha, "hash of clip"))
    assert not names(plan, "data") + names(plan, "population") + names(plan, "clip")
    assert names(plan, "shards") == (["shards"] if parsed else [])
    assert {step.places["shards"] for step in plan.steps.values() if step.kind == "encoder"} == {Path("/data/shards")}
    assert sorted(names(plan, "features"))[0] == "frozen/features.parquet"  # it depends on no seed
    frozen = next(row for row in plan.rows if row.name == "frozen")
    assert {run.metrics for run in frozen.runs.values()} == {"frozen/metrics.json"}
    assert len(names(plan, "encoder")) == 8


@pytest.mark.parametrize("change", [{"clip": "other"}, {"shards_sha256": "other"}])
def test_what_a_data_set_brings_is_part_of_what_made_a_run(change):
    given_values = {"shards": Path("/data/shards"), "shards_sha256": "abc", "clip": "one"}
    base = Base({"data": {"dataset": "prcc"}})
    first = plan_of(base=base, given=Given(**given_values)).steps
    second = plan_of(base=base, given=Given(**given_values | change)).steps
    for name, step in first.items():
        changed = (step.fingerprint, step.given) != (second[name].fingerprint, second[name].given)
        assert changed == (step.kind in ("prompts", "encoder", "features"))


def test_shards_that_the_study_parsed_are_the_same_to_its_runs_as_shards_that_were_there(tmp_path):
    world, base = World(tmp_path), Base({"data": {"dataset": "prcc"}})
    done, schedule = world.run(plan_of(base=base, given=Given(Path("/data/shards"), None, "clip")))
    assert "shards" in done
    parsed = schedule.notes["shards"].output
    done, _ = world.run(plan_of(base=base, given=Given(Path("/data/shards"), parsed, "clip")))
    assert done == []
    plan = plan_of(base=base, given=Given(Path("/data/shards"), "others", "clip"))
    assert set(world.run(plan)[0]) == downstream(plan, {"prompts", "encoder", "features"})


@pytest.mark.parametrize(
    "change",
    [{"parse.dilate": 3}, {"synth": {"cameras": 6}}, {"model.pretrained": "openai"}, {"seed": 5}, {"leakage.folds": 3}],
)
@pytest.mark.parametrize("given_shards", [None, Given(Path("/data/shards"), "abc", "clip")])
def test_a_method_that_changes_what_all_methods_share_is_refused(change, given_shards):
    key = next(iter(change))
    study = make_study(methods={"baseline": None, "ccaf": None, "other": {"encoder.method": "ccaf", **change}})
    with pytest.raises(InputError, match=f"method other: {key}.* is the same for all methods of a study"):
        plan_of(study, given=given_shards)
    if "." in key:
        with pytest.raises(InputError, match=f"method ccaf@{key}=.* is the same for all methods"):
            plan_of(make_study(sweeps=[{"parameter": key, "values": [2, 3], "method": "ccaf"}]))


def test_methods_cannot_start_from_different_clips_that_the_study_would_train():
    study = make_study(
        reference=[], methods={"ccaf": None, "small": {"encoder.method": "ccaf", "model.image_size": [128, 64]}}
    )
    message = r"share clip, .* model\.image_size is \[256, 128\] or \[128, 64\]; change it under parameters"
    with pytest.raises(InputError, match=message):
        plan_of(study)


def test_leakage_is_measured_of_methods_and_oracles_but_not_of_sweeps():
    plan = plan_of()
    measured = {row.name: {run.leakage is not None for run in row.runs.values()} for row in plan.rows}
    for name, found in measured.items():
        assert found == {not name.startswith("ccaf@")}
    step = plan.steps["seed-1/methods/ccaf/leakage.json"]
    assert step.inputs == {"features": "seed-1/methods/ccaf/features.parquet", "data": "seed-1/data"}
    assert step.parameters.data.root == str(FOLDER / "seed-1" / "data")
    assert not names(plan_of(make_study(leakage=False)), "leakage")


def test_oracles_are_of_the_rendering_of_their_seed():
    plan = plan_of(make_study(oracles=["identity"]))
    assert names(plan, "oracle") == [f"seed-{seed}/oracles/identity/features.parquet" for seed in (0, 1)]
    step = plan.steps["seed-1/oracles/identity/features.parquet"]
    assert (step.inputs, step.made_of) == ({"data": "seed-1/data"}, {"oracle": "identity"})


def test_tuning_runs_the_grid_on_seeds_of_its_own_with_the_same_clip():
    study = make_study()
    plan, points = make_tuning_plan(study, FOLDER, Base(), {})
    assert len(points) == 3 * 4
    assert names(plan, "data") == ["tuning/seed-100/data"]
    assert plan.steps["clip"].fingerprint == plan_of(study).steps["clip"].fingerprint
    encoder = plan.steps[plan.rows[0].runs[100].encoder].parameters
    assert (encoder.seed, encoder.encoder.learning_rate, encoder.encoder.pad) == (100, 0.1, 1)


# --- a change repeats what depends on it, and nothing else

DECIDES = {
    ("encoder.lambda_dis", 0.7): {"encoder"},
    ("encoder.epochs", 5): {"encoder"},
    ("prompts.epochs", 9): {"prompts"},
    ("prompts.identity_images", "raw"): {"prompts", "encoder"},
    ("synth.cameras", 6): {"data"},
    ("synth.test_identities", 7): {"data"},
    ("synth.pretrain_images", 99): {"population"},
    ("synth.height", 256): {"data", "population"},
    ("pretrain.epochs", 2): {"clip"},
    ("parse.dilate", 2): {"shards"},
    ("parse.fill", "blur"): {"shards"},
    ("model.pixel_mean", (0.1, 0.2, 0.3)): {"clip", "prompts", "encoder", "features"},
    ("training.precision", "bf16"): {"prompts", "encoder"},
    ("training.tf32", False): {"prompts", "encoder"},
    ("training.deterministic", True): {"prompts", "encoder"},
    ("training.evaluate_every", 1): {"encoder"},
    ("evaluate.flip", True): {"features"},
    ("evaluate.bootstrap", 7): {"metrics"},
    ("leakage.folds", 3): {"leakage"},
    ("synth.variant", "hard"): {"data", "population"},
    ("training.save_minutes", 9.0): set(),
    ("parse.io_threads", 7): set(),
    ("evaluate.batch_size", 7): set(),
    ("loading.threads", 7): set(),
    ("report.sheet_images", 3): set(),
    ("device", "cpu"): set(),
    ("threads", 3): set(),
}
"""Which kinds of steps a parameter decides, written down from what the parameters mean."""


class World:
    """Artifacts that know everything that made them, in the place of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts: dict[str, str] = {}

    def run(self, plan, broken=()) -> tuple[list[str], Schedule]:
        """Do a plan; names of the steps that were done, in their order."""
        schedule = Schedule(plan.steps, self.folder, lambda step: self.artifacts.get(step.name))
        done = []
        while (step := schedule.take()) is not None:
            if step.name in broken:
                schedule.fail(step, f"{step.name} is broken")
                continue
            self.artifacts[step.name] = sha256_of_value([step.made_of, schedule.inputs_of(step)])
            schedule.finish(step, self.artifacts[step.name], 1.0)
            done.append(step.name)
        assert schedule.over
        return done, schedule


def downstream(plan, kinds: set[str]) -> set[str]:
    """Steps of some kinds, and all that reads what they made."""
    found: set[str] = set()
    for name, step in plan.steps.items():
        if step.kind in kinds or found & set(step.inputs.values()):
            found.add(name)
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(list(DECIDES)), min_size=1, max_size=3, unique_by=lambda change: change[0]))
def test_a_change_repeats_what_depends_on_it_and_nothing_else(changes):
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        first, _ = world.run(plan_of())
        assert first
        changed = plan_of(base=Base(None, changes))
        kinds = set().union(*(DECIDES[change] for change in changes))
        done, _ = world.run(changed)
        assert set(done) == downstream(changed, kinds)
        again, _ = world.run(changed)
        assert again == []


def test_all_steps_are_done_once_and_in_an_order_that_works(tmp_path):
    plan = plan_of()
    done, _ = World(tmp_path).run(plan)
    assert sorted(done) == sorted(plan.steps)


def test_another_seed_adds_its_own_steps_only(tmp_path):
    world = World(tmp_path)
    world.run(plan_of())
    done, _ = world.run(plan_of(make_study(seeds=[0, 1, 2])))
    assert done
    assert all(name.startswith("seed-2/") for name in done)


def test_a_changed_program_repeats_its_kind_and_what_follows_unless_told_otherwise(tmp_path):
    world = World(tmp_path)
    world.run(plan_of(code={"encoder": "one"}))
    changed = plan_of(code={"encoder": "two"})
    kept = Schedule(changed.steps, tmp_path, lambda step: world.artifacts.get(step.name), any_code=True)
    assert kept.over
    told = Schedule(changed.steps, tmp_path, lambda step: world.artifacts.get(step.name))
    assert told.outdated == set(names(changed, "encoder"))
    done, _ = world.run(changed)
    assert set(done) == set(names(changed, "encoder"))  # the encoders came out the same, so their features stay


def test_a_lost_or_damaged_artifact_is_made_again_and_costs_nothing_further_down(tmp_path):
    world = World(tmp_path)
    plan = plan_of()
    world.run(plan)
    del world.artifacts["seed-0/data"]
    world.artifacts["seed-1/methods/ccaf/encoder"] = "damaged"
    done, _ = world.run(plan)
    assert sorted(done) == ["seed-0/data", "seed-1/methods/ccaf/encoder"]


def test_a_damaged_note_is_as_none(tmp_path):
    world = World(tmp_path)
    plan = plan_of()
    world.run(plan)
    for path, text in (("seed-0/shards", "{"), ("seed-1/shards", "[1]"), ("clip", "{}")):
        (tmp_path / f"{path}.step.json").write_text(text)
    done, _ = world.run(plan)
    assert sorted(done) == ["clip", "seed-0/shards", "seed-1/shards"]


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path):
    plan = plan_of()
    broken = "seed-0/methods/ccaf/encoder"
    done, schedule = World(tmp_path).run(plan, broken=[broken])
    stem = broken.removesuffix("/encoder")
    lost = {broken, f"{stem}/features.parquet", f"{stem}/metrics.json", f"{stem}/leakage.json"}
    assert set(schedule.failures) == lost
    assert set(schedule.failures.values()) == {f"{broken} is broken"}
    assert set(done) == set(plan.steps) - lost


def test_what_most_waits_for_goes_first():
    plan = plan_of()
    schedule = Schedule(plan.steps, FOLDER, lambda step: None, slots=2)
    first = schedule.take()
    assert first.name == "population"  # the CLIP comes next, and everything waits for that
    second = schedule.take()
    assert second.kind == "data"
    assert schedule.take(lambda step: step.kind == "encoder") is None
