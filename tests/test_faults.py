"""A message about a section names its key as a user writes it, once for each cause."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import fedcl
from fedcl.config.data import Splits
from fedcl.config.experiment import Compute, Config
from fedcl.config.faults import faults_of, problems_of
from fedcl.config.loading import load
from fedcl.config.site import SiteSettings
from fedcl.config.study import Study

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"
ROOTS = (Config, SiteSettings, Study)


def unions(node, definitions, key, wrap, seen=()):
    """Yield key, discriminator, tag, tree and known keys of each choice, read from JSON schema."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if seen.count(name) < 1:
            yield from unions(definitions[name], definitions, key, wrap, (*seen, name))
        return
    for choice in node.get("anyOf", ()):
        yield from unions(choice, definitions, key, wrap, seen)
    if "items" in node:
        yield from unions(node["items"], definitions, [*key, "0"], lambda v: wrap([v]), seen)
    if isinstance(node.get("additionalProperties"), dict):
        inner = node["additionalProperties"]
        yield from unions(inner, definitions, [*key, "x"], lambda v: wrap({"x": v}), seen)
    if "discriminator" in node:
        by = node["discriminator"]["propertyName"]
        for tag, reference in node["discriminator"]["mapping"].items():
            section = definitions[reference.rpartition("/")[2]]
            tree = wrap({by: tag, "no_such_key": 1})
            yield ".".join(key), tag, tree, tuple(section["properties"])
            yield from properties(section, definitions, key, wrap, (*seen, tag), {by: tag})
    yield from properties(node, definitions, key, wrap, seen, {})


def properties(section, definitions, key, wrap, seen, tags):
    if len(seen) != len(set(seen)):
        return  # a kernel of kernels
    for name, inner in section.get("properties", {}).items():
        yield from unions(
            inner, definitions, [*key, name], lambda v, name=name: wrap({**tags, name: v}), seen
        )


def cases():
    for root in ROOTS:
        schema = root.model_json_schema()
        for key, tag, tree, known in unions(schema, schema.get("$defs", {}), [], lambda v: v):
            yield pytest.param(root, key, tree, known, id=f"{root.__name__}-{key}-{tag}")


CASES = list(cases())


def test_the_cases_reach_the_unions_of_every_root():
    keys = {(case.values[0], case.values[1]) for case in CASES}
    assert {
        (Config, "data"),
        (Config, "encoder"),
        (Config, "privacy"),
        (Config, "federation.rule"),
        (Config, "objective.debias.0"),
        (Config, "objective.kernel.kernels.0"),
        (Config, "objective.also.0.kernel"),
        (Config, "harmonise.age"),
        (SiteSettings, "data"),
    } <= keys


@pytest.mark.parametrize(("root", "key", "tree", "known"), CASES)
def test_no_tag_of_a_union_stands_in_a_key(root, key, tree, known):
    with pytest.raises(ValidationError) as caught:
        root.model_validate(tree)
    faults = {fault.key: fault for fault in faults_of(caught.value, root)}
    assert faults[f"{key}.no_such_key"].known == known
    for place, fault in faults.items():
        *sections, last = place.split(".")
        node = tree
        for section in sections:
            node = node[int(section) if isinstance(node, list) else section]
        if fault.type == "missing":
            assert last not in node
        else:
            assert (int(last) if isinstance(node, list) else last) in (
                range(len(node)) if isinstance(node, list) else node
            )


@pytest.mark.parametrize(
    ("section", "tree", "message"),
    [
        (
            Splits,
            {"external_sites": [10], "internal_fraction": 0.1},
            "external_sites.0: expected text; put numbers in quotes, as in '10'; got 10",
        ),
        (
            Splits,
            {"external_sites": "a", "internal_fraction": 0.1},
            "external_sites: Input should be a valid tuple, or: Input should be a valid integer, "
            "unable to parse string as an integer; got 'a'",
        ),
        (
            Compute,
            {"device": "cpu", "precision": "float32", "workers": "x", "threads": 1},
            "workers: Input should be a valid integer, unable to parse string as an integer, or: "
            "Input should be 'auto'; got 'x'",
        ),
    ],
)
def test_a_value_of_several_types_has_one_message(section, tree, message):
    with pytest.raises(ValidationError) as caught:
        section.model_validate(tree)
    assert problems_of(caught.value, section) == message


def test_a_list_whose_elements_are_wrong_is_not_called_too_short():
    with pytest.raises(fedcl.ConfigError) as caught:
        load(TINY, ["data.sites=[10]"])
    assert str(caught.value).splitlines() == [
        "--set: data.sites.0: expected text; put numbers in quotes, as in '10'; found 10"
    ]


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        ({"federation.rounds": 0}, "overrides: federation.rounds: "),
        ({"federation": {"rounds": 0}}, "overrides: federation.rounds: "),
        ({"encoder": {"kind": "resnet18", "norm": "group"}}, "overrides: encoder.width: missing"),
        ({"privacy.mode": "participant"}, f"{TINY} with overrides: privacy.clip_norm: missing"),
        ({"federation.rule.kind": "fedbn"}, f"{TINY} with overrides: "),
    ],
)
def test_a_fault_of_an_override_is_blamed_on_the_override(overrides, start):
    with pytest.raises(fedcl.ConfigError) as caught:
        fedcl.load_config(TINY, overrides)
    assert str(caught.value).startswith(start)


def test_a_fault_of_the_file_is_blamed_on_the_file(tmp_path):
    tree = yaml.safe_load(TINY.read_text())
    del tree["local"]["epochs"]
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(fedcl.ConfigError) as caught:
        fedcl.load_config(file, {"federation.rounds": 0})
    by_the_file, by_the_override = str(caught.value).splitlines()
    assert by_the_file.startswith(f"{file}: local.epochs: missing")
    assert by_the_override.startswith("overrides: federation.rounds: ")
