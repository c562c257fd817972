"""The page of a study, its tables and its figures."""

import yaml

from fedcl.config.study import Study
from fedcl.study.results import Found, StudyResults, results_of, write_tables


def write_study(study: Study, found: Found) -> StudyResults:
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    results = results_of(study, text, found)
    study.output.mkdir(parents=True, exist_ok=True)
    write_tables(study.output, results)
    return results
