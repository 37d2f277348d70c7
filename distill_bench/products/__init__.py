"""What methods make, in a form that a stranger can use: on disk, as tensors, and as a picture.

`products/<name>.py` holds the class of a kind of product: `<Name>` in capitals, with `tensors()`,
`from_tensors` and `draw`. A file says of which kind it is.
"""

from distill_bench.products.classifier import Classifier
from distill_bench.products.external import external_images
from distill_bench.products.files import load_product, save_product
from distill_bench.products.reduced_mixtures import ReducedMixtures
from distill_bench.products.synthetic_set import SyntheticSet, synthetic_set

__all__ = [
    "Classifier",
    "ReducedMixtures",
    "SyntheticSet",
    "external_images",
    "load_product",
    "save_product",
    "synthetic_set",
]
