"""What the authors' released losses have in common (variant: released).

https://github.com/EIDOSLAB/contrastive-brain-age-prediction and
https://github.com/EIDOSLAB/unbiased-contrastive-learning multiply every loss by temperature / 0.07.
"""

BASE_TEMPERATURE = 0.07
