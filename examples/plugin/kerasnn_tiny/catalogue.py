"""What each network of this package should weigh: kerasnn shows these rows beside its own."""

from kerasnn.models.catalogue import Entry

from kerasnn_tiny.models.mixer import mixer

TOLSTIKHIN = "Tolstikhin et al. 2021, MLP-Mixer: An all-MLP Architecture for Vision"

CATALOGUE = {
    "tiny_mixer": Entry(
        builder=mixer,
        paper=TOLSTIKHIN,
        year=2021,
        input_shape=(32, 32, 3),
        num_classes=10,
        params_published=154_058,
        counts="added up by hand: the paper has no network of this size",
        smallest=(4, 4, 3),
        options={"variant": "tiny_mixer"},
        toy={"depth": 1, "width": 8},
    ),
    "mixer_s16": Entry(
        builder=mixer,
        paper=TOLSTIKHIN,
        year=2021,
        input_shape=(224, 224, 3),
        num_classes=1000,
        params_published=18_528_264,
        counts="all weights, where the paper says 18M",
        smallest=(16, 16, 3),
        options={"variant": "mixer_s16"},
        toy={"depth": 1, "width": 8},
    ),
}
