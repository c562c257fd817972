"""The configuration is strict: every mistake names its key, what was expected, the nearest key."""

from pathlib import Path

import pytest

from fedcl.config.loading import config_digest, load, parse, resolved_text
from fedcl.errors import ConfigError
from tests.builders import config_of, table_tree, with_values

FAIRKL = "{name: fairkl, weight: 1, against: site, vectors: embedding, side: both, form: kl}"
RELEASED_ONE_SIDE = FAIRKL.replace("kl}", "released}").replace("both", "positive")
CONFIGS = sorted(Path(__file__).parents[1].joinpath("configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path):
    config = load(path)
    assert parse(resolved_text(config), source="again") == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_number_of_a_shipped_configuration_stands_beside_a_comment(path):
    bare = [
        line
        for line in path.read_text().splitlines()
        if any(c.isdigit() for c in line.partition("#")[0]) and "#" not in line
    ]
    # Lines such as `rounds: 8` and `seed: 7` whose key says everything may stand alone.
    assert len(bare) <= 12, bare


def test_overrides_reach_any_key_and_change_the_digest():
    path = CONFIGS[0]
    before = load(path)
    after = load(path, ["seed=8", "local.optimizer.learning_rate=0.5"])
    assert after.seed == 8
    assert after.local.optimizer.learning_rate == 0.5
    assert config_digest(before) != config_digest(after)


PRIVATE = (
    "{mode: participant, clip_norm: 1, noise_multiplier: 1, delta: 1.0e-5, budget: 8, "
    "ledger: ledgers, gradients: loop, test_seed: null, target_epsilon: null}"
)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("local.epoch=3", "local.epoch: unknown key; did you mean 'epochs'?"),
        ("objective.kernel.bandwith=3", "did you mean 'bandwidths'?"),
        ("federation.rule.etta=1", "federation.rule.etta: unknown key"),
        ("views.table.nose=1", "there is no section 'table'"),
        ("objectve.loss=1", "there is no section 'objectve'; did you mean 'objective'?"),
        ("seed=-1", "seed: Input should be greater than or equal to 0; found -1"),
        ("seed", "write it as section.key=value"),
        ("objective.temperature=0", "objective.temperature: Input should be greater than 0"),
        ("privacy.mode=participent", "privacy: Input tag 'participent' found using 'mode'"),
        ("privacy.mode=participant", "privacy.clip_norm: missing"),
        (f"privacy={PRIVATE}", "one of them changes everybody's gradient"),
        (f"privacy={PRIVATE.replace('multiplier: 1', 'multiplier: null')}", "give noise_mult"),
        ("encoder={kind: resnet18, width: 8, norm: group}", "cannot read this data; use mlp"),
        ("federation.rule={kind: fedbn}", "this mlp has none; use fedavg"),
        ("views={kind: none}", None),
        ("objective.kernel.bandwidths=[5, 3]", "1 covariates and 2 bandwidths"),
        ("objective.loss=l_ex", "objective.loss: Input should be 'l_exp', 'l_thr'"),
        ("objective.loss=sup_con", "sup_con needs classes"),
        ("objective.loss=eps_info_nce", "epsilon is needed by eps_info_nce"),
        ("objective.epsilon=0.5", "epsilon does not belong to l_exp"),
        ("objective.label_temperature=0.5", "label_temperature does not belong to l_exp"),
        ("objective.ridge=0.5", "ridge does not belong to l_exp"),
        ("objective={loss: info_nce, variant: released}", "objective.kernel: missing"),
        ("objective.debias=[{name: fairkl}]", "objective.debias.0.weight: missing"),
        (f"objective.debias=[{FAIRKL}]", "fairkl needs classes"),
        (f"objective.debias=[{RELEASED_ONE_SIDE}]", "released form is defined on both sides"),
        (
            f"objective.debias=[{FAIRKL[:-1]}, wieght: 3}}]",
            "objective.debias.0.wieght: unknown key; did you",
        ),
        ("objective.also=[{loss: l1}]", "objective.also.0.weight: missing"),
        ("seed={", "the value is not YAML"),
    ],
)
def test_a_wrong_override_is_one_message(tmp_path, override, message):
    file = tmp_path / "x.yaml"
    file.write_text(resolved_text(config_of(table_tree(tmp_path))))
    if message is None:
        load(file, [override])
        return
    with pytest.raises(ConfigError) as caught:
        load(file, [override])
    assert message in str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    tree = table_tree(tmp_path)
    del tree["local"]["epochs"]
    with pytest.raises(ConfigError, match=r"local\.epochs: missing"):
        config_of(tree)


def test_identical_views_cannot_train_info_nce(tmp_path):
    tree = with_values(table_tree(tmp_path), views={"kind": "none"}, objective__loss="info_nce")
    with pytest.raises(ConfigError, match="two identical views"):
        config_of(tree)


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "just words"])
def test_a_file_that_is_no_configuration_is_one_message(text):
    with pytest.raises(ConfigError, match=r"^here: "):
        parse(text, source="here")


def test_a_missing_file_is_one_message(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load(tmp_path / "none.yaml")
