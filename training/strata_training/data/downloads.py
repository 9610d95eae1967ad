"""The data sets that Keras downloads, and keeps for the next time."""

from collections.abc import Mapping

import numpy as np

from strata_training.data.dataset import DataSet
from strata_training.errors import TrainingError

_FASHION_MNIST = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

DOWNLOADS: Mapping[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": tuple(_FASHION_MNIST.split(",")),
    "cifar10": tuple(_CIFAR10.split()),
    "cifar100": tuple(_CIFAR100.split()),
}
"""The classes of each, in the order of its labels; of CIFAR-100 the fine ones."""


def load_download(name: str) -> DataSet:
    """Return one of Keras's data sets; its official test part is held out.

    Raises:
        TrainingError: it cannot be downloaded, or what was is damaged.
    """
    import keras

    try:
        (learned, learned_labels), (held_out, held_out_labels) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a plain Exception when a download fails
        raise TrainingError(
            f"the data set {name!r} cannot be fetched: {' '.join(str(error).split())}; "
            "a folder of pictures or a .npz file can be given in its place, by its path"
        ) from error
    inputs = np.concatenate([learned, held_out])
    labels = np.concatenate([learned_labels, held_out_labels]).reshape(-1).astype(np.int64)
    # Grayscale pictures come without the axis of their one channel.
    inputs = inputs.reshape(*inputs.shape[:3], -1)
    return DataSet(name, inputs, labels, DOWNLOADS[name], held_out=np.arange(len(learned), len(labels)))
