"""The experiment, the settings of a site and a study: YAML read into frozen sections."""
