"""Every network of the package, with what its paper says about it: the one file that sees all families.

A row's name is also the YAML file in conf/model and the `name` of the model that it builds. Tests recount each row at
its published size and train each at its toy size.
"""

from kerasnn.models.alexnet import alexnet
from kerasnn.models.bert import BERT, bert
from kerasnn.models.convnext import CONVNEXT, convnext
from kerasnn.models.dbn import dbn
from kerasnn.models.densenet import DENSENET, densenet
from kerasnn.models.efficientnet import EFFICIENTNET, efficientnet
from kerasnn.models.entry import Entry
from kerasnn.models.googlenet import googlenet
from kerasnn.models.gpt import GPT, gpt
from kerasnn.models.lenet import lenet5, lenet5_1998
from kerasnn.models.mlp import mlp
from kerasnn.models.mobilenet import mobilenet_v2
from kerasnn.models.perceptron import perceptron
from kerasnn.models.resnet import RESNET, RESNET_CIFAR, resnet, resnet_cifar
from kerasnn.models.transformer import TRANSFORMER, transformer
from kerasnn.models.vgg import VGG, vgg
from kerasnn.models.vit import VIT, vit

LECUN = "LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition"
HE = "He, Zhang, Ren, Sun 2015, Deep Residual Learning for Image Recognition"
DEVLIN = (
    "Devlin, Chang, Lee, Toutanova 2018, BERT: Pre-training of Deep Bidirectional Transformers for Language "
    "Understanding"
)
TURC = "Turc, Chang, Lee, Toutanova 2019, Well-Read Students Learn Better"
RADFORD = "Radford, Wu, Child, Luan, Amodei, Sutskever 2019, Language Models are Unsupervised Multitask Learners"
BROWN = "Brown, Mann, Ryder, Subbiah, Kaplan et al. 2020, Language Models are Few-Shot Learners"
DOSOVITSKIY = (
    "Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, Minderer, Heigold, Gelly, Uszkoreit, "
    "Houlsby 2020, An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale"
)
TOUVRON = (
    "Touvron, Cord, Douze, Massa, Sablayrolles, Jégou 2020, Training data-efficient image transformers & distillation "
    "through attention"
)

CATALOGUE = {
    "perceptron": Entry(
        builder=perceptron,
        paper="Rosenblatt 1958, The Perceptron: A Probabilistic Model for Information Storage and Organization in the "
        "Brain",
        year=1958,
        input_shape=(28, 28, 1),
        num_classes=10,
        params_published=7_850,
        counts="added up by hand for MNIST: the paper gives no such size",
        smallest=(1, 1, 1),
    ),
    "mlp": Entry(
        builder=mlp,
        paper="Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors",
        year=1986,
        input_shape=(28, 28, 1),
        num_classes=10,
        params_published=266_610,
        counts="added up by hand for 28×28-300-100-10, a network of LeCun et al. 1998",
        smallest=(1, 1, 1),
        toy={"hidden_widths": (8, 6)},
    ),
    "lenet5": Entry(
        builder=lenet5,
        paper=LECUN,
        year=1998,
        input_shape=(32, 32, 1),
        num_classes=10,
        params_published=61_706,
        counts="the dense variant that everyone writes",
        smallest=(32, 32, 1),
    ),
    "lenet5_1998": Entry(
        builder=lenet5_1998,
        paper=LECUN,
        year=1998,
        input_shape=(32, 32, 1),
        num_classes=10,
        params_published=60_000,
        counts="the paper's trainable weights; its fixed output codes are none",
        smallest=(32, 32, 1),
    ),
    "dbn": Entry(
        builder=dbn,
        paper="Hinton, Osindero, Teh 2006, A Fast Learning Algorithm for Deep Belief Nets",
        year=2006,
        input_shape=(28, 28, 1),
        num_classes=10,
        params_published=1_665_010,
        counts="784-500-500-2000-10 as a classifier, without the machines' visible biases",
        smallest=(1, 1, 1),
        toy={"hidden_widths": (8, 6, 5)},
    ),
    "alexnet": Entry(
        builder=alexnet,
        paper="Krizhevsky, Sutskever, Hinton 2012, ImageNet Classification with Deep Convolutional Neural Networks",
        year=2012,
        input_shape=(227, 227, 3),
        num_classes=1000,
        params_published=60_965_224,
        counts="all weights, two towers",
        smallest=(15, 15, 3),
        toy={"widths": (4, 8, 8, 8, 8), "hidden_widths": (16, 16)},
    ),
    **{
        variant: Entry(
            builder=vgg,
            paper="Simonyan, Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image Recognition",
            year=2014,
            input_shape=(224, 224, 3),
            num_classes=1000,
            params_published=published,
            counts="trainable weights, as in torchvision",
            smallest=(32, 32, 3),
            options={"variant": variant},
            toy={"widths": (4, 4, 8, 8, 8), "hidden_widths": (16, 16)},
        )
        for variant, (_, _, published) in VGG.items()
    },
    "googlenet": Entry(
        builder=googlenet,
        paper="Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich 2014, Going Deeper with "
        "Convolutions",
        year=2014,
        input_shape=(224, 224, 3),
        num_classes=1000,
        params_published=6_998_552,
        counts="without auxiliary classifiers; 13,378,280 with them in training. Lectures say 6 million",
        smallest=(17, 17, 3),
        options={"auxiliary": False},
        toy={"width_multiplier": 1 / 16},
    ),
    **{
        variant: Entry(
            builder=resnet,
            paper=HE,
            year=2015,
            input_shape=(224, 224, 3),
            num_classes=1000,
            params_published=published,
            counts="trainable weights, as in torchvision; Keras' have convolution biases too",
            smallest=(8, 8, 3),
            options={"variant": variant},
            toy={"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8)},
        )
        for variant, (_, _, published) in RESNET.items()
    },
    **{
        variant: Entry(
            builder=resnet_cifar,
            paper=HE,
            year=2015,
            input_shape=(32, 32, 3),
            num_classes=10,
            params_published=published,
            counts="trainable weights, added up by hand: the paper gives two digits",
            smallest=(4, 4, 3),
            options={"variant": variant},
            toy={"depth": 1, "widths": (4, 4, 8)},
        )
        for variant, (_, published) in RESNET_CIFAR.items()
    },
    **{
        variant: Entry(
            builder=densenet,
            paper="Huang, Liu, van der Maaten, Weinberger 2016, Densely Connected Convolutional Networks",
            year=2016,
            input_shape=(224, 224, 3),
            num_classes=1000,
            params_published=published,
            counts="trainable weights, as in torchvision",
            smallest=(8, 8, 3),
            options={"variant": variant},
            toy={"growth": 4, "depths": (1, 2, 1, 1)},
        )
        for variant, (_, published) in DENSENET.items()
    },
    **{
        variant: Entry(
            builder=transformer,
            paper="Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin 2017, Attention Is All You "
            "Need",
            year=2017,
            input_shape=(2, 64),
            num_classes=None,
            params_published=published,
            counts=f"added up by hand with one table of {words:,} words for both ends; the paper: 65M, and big 213M",
            smallest=(2, 2),
            options={"variant": variant, "vocab_size": words},
            toy={"vocab_size": 11, "depth": 1, "width": 8, "num_heads": 2, "hidden_dim": 16},
        )
        for variant, (*_, words, published) in TRANSFORMER.items()
    },
    "mobilenet_v2": Entry(
        builder=mobilenet_v2,
        paper="Sandler, Howard, Zhu, Zhmoginov, Chen 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        year=2018,
        input_shape=(224, 224, 3),
        num_classes=1000,
        params_published=3_504_872,
        counts="trainable weights at width 1, as in torchvision",
        smallest=(8, 8, 3),
        toy={"width_multiplier": 0.1, "depths": (1,) * 7},
    ),
    **{
        variant: Entry(
            builder=bert,
            paper=TURC if variant == "bert" else DEVLIN,
            year=2019 if variant == "bert" else 2018,
            input_shape=(512,),
            num_classes=2,
            params_published=published,
            counts="all weights without a head, pooled [CLS] included; the papers round to 4.4M, 110M and 340M",
            smallest=(2,),
            options={"variant": variant, "vocab_size": 30_522, "head": "none"},
            toy={"vocab_size": 11, "head": "classes", "depth": 1, "width": 8, "num_heads": 2, "hidden_dim": 16},
        )
        for variant, (*_, published) in BERT.items()
    },
    **{
        variant: Entry(
            builder=efficientnet,
            paper="Tan, Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
            year=2019,
            input_shape=(resolution, resolution, 3),
            num_classes=1000,
            params_published=published,
            counts="trainable weights, as in torchvision and Keras",
            smallest=(16, 16, 3),
            options={"variant": variant},
            toy={"width_multiplier": 0.25, "depth_multiplier": 0.1},
        )
        for variant, (_, _, resolution, _, published) in EFFICIENTNET.items()
    },
    **{
        variant: Entry(
            builder=gpt,
            paper=BROWN if variant.startswith("gpt3") else RADFORD,
            year=2020 if variant.startswith("gpt3") else 2019,
            input_shape=(length,),
            num_classes=None,
            params_published=published,
            counts="added up by hand, one table of words for both ends"
            + ("; the lecture's table prints 1750 million, which should be 175,000 million" * (variant == "gpt3")),
            smallest=(2,),
            options={"variant": variant, "vocab_size": 65 if variant == "gpt" else 50_257},
            toy={"vocab_size": 11, "depth": 1, "width": 8, "num_heads": 2},
        )
        for variant, (*_, length, published) in GPT.items()
    },
    **{
        variant: Entry(
            builder=vit,
            paper=DOSOVITSKIY if variant == "vit_base" else TOUVRON,
            year=2020,
            input_shape=(224, 224, 3),
            num_classes=1000,
            params_published=published,
            counts="all weights, patches of 16, without a distillation token",
            smallest=(4, 4, 3),
            options={"variant": variant},
            toy={"depth": 2, "width": 8, "num_heads": 2},
        )
        for variant, (_, _, published) in VIT.items()
    },
    **{
        variant: Entry(
            builder=convnext,
            paper="Liu, Mao, Wu, Feichtenhofer, Darrell, Xie 2022, A ConvNet for the 2020s",
            year=2022,
            input_shape=(224, 224, 3),
            num_classes=1000,
            params_published=published,
            counts="all weights, as in torchvision",
            smallest=(16, 16, 3),
            options={"variant": variant},
            toy={"depths": (1, 1, 2, 1), "widths": (4, 4, 8, 8)},
        )
        for variant, (_, _, published) in CONVNEXT.items()
    },
}
