"""The class names of CIFAR-10 and CIFAR-100, in the order of their labels.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, batches.meta.txt, fine_label_names.txt and
coarse_label_names.txt of the official archives.
"""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# CIFAR-100: the coarse classes in the order of their labels, each with its five fine ones.
_GROUPS = (
    ("aquatic_mammals", "beaver dolphin otter seal whale"),
    ("fish", "aquarium_fish flatfish ray shark trout"),
    ("flowers", "orchid poppy rose sunflower tulip"),
    ("food_containers", "bottle bowl can cup plate"),
    ("fruit_and_vegetables", "apple mushroom orange pear sweet_pepper"),
    ("household_electrical_devices", "clock keyboard lamp telephone television"),
    ("household_furniture", "bed chair couch table wardrobe"),
    ("insects", "bee beetle butterfly caterpillar cockroach"),
    ("large_carnivores", "bear leopard lion tiger wolf"),
    ("large_man-made_outdoor_things", "bridge castle house road skyscraper"),
    ("large_natural_outdoor_scenes", "cloud forest mountain plain sea"),
    ("large_omnivores_and_herbivores", "camel cattle chimpanzee elephant kangaroo"),
    ("medium_mammals", "fox porcupine possum raccoon skunk"),
    ("non-insect_invertebrates", "crab lobster snail spider worm"),
    ("people", "baby boy girl man woman"),
    ("reptiles", "crocodile dinosaur lizard snake turtle"),
    ("small_mammals", "hamster mouse rabbit shrew squirrel"),
    ("trees", "maple_tree oak_tree palm_tree pine_tree willow_tree"),
    ("vehicles_1", "bicycle bus motorcycle pickup_truck train"),
    ("vehicles_2", "lawn_mower rocket streetcar tank tractor"),
)

CIFAR100_COARSE = tuple(coarse for coarse, _ in _GROUPS)
CIFAR100 = tuple(sorted(fine for _, members in _GROUPS for fine in members.split()))  # official: by alphabet
_COARSE_OF = {fine: label for label, (_, members) in enumerate(_GROUPS) for fine in members.split()}
CIFAR100_COARSE_OF = tuple(_COARSE_OF[fine] for fine in CIFAR100)  # the coarse label of each fine one
