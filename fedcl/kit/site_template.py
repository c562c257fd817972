"""The SITE.yaml that a site begins with: every key is there, and the limits are strict."""

import json

import yaml

from fedcl.config.data import Data
from fedcl.kit.invitation import Invitation

_TEMPLATE = """\
# Settings of this site. The server neither sees nor changes them.
site: {site}    # its label: in the participants table and at the server
server: {server}    # the federation's gateway

# How this site's own participants are read. Relative paths begin at the folder of this file. The
# arrays must be what the experiment asks for (modality, grid, spacing, intensity). Look at the data
# with: fedcl check site.yaml
{data}
compute:
  device: auto                    # auto | cpu | cuda
  threads: null                   # of the processor; null: as the experiment says

# What the server cannot lower, whatever an experiment says.
limits:
  # null: experiments without privacy are allowed too. Else the least that is asked for:
  # privacy: {{modes: [participant, participant_central, site], epsilon: 8.0, delta: 1.0e-5}}
  privacy: null
  min_participants: 10            # nothing computed from fewer leaves the site
  # What may leave it; each experiment says which of these it asks for. To be added by hand:
  # step_gradients, gradients of a few participants without noise, which tell most about them.
  releases: [feature_sums, moments, private_moments, gradients, updates, evaluation, erasure,
    secure_sums]
  max_rounds: 200                 # of one experiment
  stop_file: STOP                 # while it lies in this folder, nothing is computed or released
"""

_TO_FILL_IN = """\
data:
  kind: nifti                     # nifti | table | openbhb
  path: data                      # the folder of scans and participants table: TO FILL IN
  participants: participants.tsv
  pattern: "**/{participant}*.nii.gz"   # a participant's scan; {participant} is the id
  columns: {participant: participant_id, site: site, age: age, sex: sex, split: split}
  splits: {external_sites: [], internal_fraction: 0.15}   # null: the table's column `split`
  grid: [36, 44, 36]              # voxels per axis after resampling; as the federation agreed
  spacing_mm: [5.0, 5.0, 5.0]     # voxel size after resampling, RAS axes
  intensity: vbm                  # vbm: grey-matter density in [0, 1] | zscore: over the brain
  simulated_scanners: null
# Or a table of regions, in place of the above:
# data:
#   kind: table
#   path: data                    # TO FILL IN
#   participants: participants.tsv
#   features: features.tsv
#   columns: {participant: participant_id, site: site, age: age, sex: sex, split: split}
#   splits: {external_sites: [], internal_fraction: 0.15}
# Or OpenBHB as downloaded:
# data: {kind: openbhb, path: data, modality: vbm, grid: [36, 44, 36], intensity: vbm}
"""


def site_template(invitation: Invitation, data: Data | None = None) -> str:
    """Return a commented SITE.yaml for the site that was invited.

    Args:
        data: How the site's participants are read; None leaves a section for a person to fill in.
    """
    # Every JSON text is a YAML text too, whatever characters a label holds; "12" stays a text.
    site, server = (
        json.dumps(text, ensure_ascii=False) for text in (invitation.site, invitation.server)
    )
    section = _TO_FILL_IN
    if data is not None:
        tree = {"data": data.model_dump(mode="json")}
        section = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return _TEMPLATE.format(site=site, server=server, data=section)
