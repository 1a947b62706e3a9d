"""What the names mean in WordNet, written by hand: facts, no list of words that are asked.

CONCEPTS   each of the 80 names and its synsets, as COCO's annotators use the name
    "car.1"      this synset and all of its hyponyms, down to synsets that another row has
    "=plant.2"   this synset alone
    "-cookie.1"  no part of the name, though a hyponym
ABOVE      synsets above several names, and the names below them, where WordNet's own tree has gaps: no bus is a vehicle
WORDS      common words for a name that WordNet lacks
OTHERWISE  words that mostly mean something else than what WordNet gives first: found by reading what the lexicon has of
           the words in BERT's vocabulary and of LVIS's names
"""

from __future__ import annotations

CONCEPTS = {
    "person": "person.1 =human.1 =humans.1 =people.1 =crowd.1 =audience.1 child.1",
    "bicycle": "bicycle.1 tricycle.1",
    "car": "car.1",
    "motorcycle": "motorcycle.1 motor scooter.1",
    "airplane": "airplane.1 glider.1 =aircraft.1",
    "bus": "bus.1",
    "train": "train.1 car.2 locomotive.1 streetcar.1",
    "truck": "truck.1",
    "boat": "vessel.2 boat.1",
    "traffic light": "traffic light.1",
    "fire hydrant": "fire hydrant.1 =hydrant.2",
    "stop sign": "",
    "parking meter": "parking meter.1",
    "bench": "bench.1",
    "bird": "bird.1 =bird.2 =chick.1",
    "cat": "domestic cat.1 =cat.1 kitten.1",
    "dog": "dog.1 puppy.1 pup.1",
    "horse": "horse.1 foal.1",
    "sheep": "sheep.1 lamb.1",
    "cow": "cow.1 cattle.1 calf.1",
    "elephant": "elephant.1",
    "bear": "bear.1 giant panda.1",
    "zebra": "zebra.1",
    "giraffe": "giraffe.1",
    "backpack": "backpack.1",
    "umbrella": "umbrella.1 parasol.1",
    "handbag": "handbag.1 tote bag.1",
    "tie": "necktie.1",
    "suitcase": "suitcase.1 baggage.1 briefcase.1",
    "frisbee": "frisbee.1",
    "skis": "ski.1",
    "snowboard": "snowboard.1",
    "sports ball": "ball.1",
    "kite": "kite.3",
    "baseball bat": "baseball bat.1",
    "baseball glove": "baseball glove.1",
    "skateboard": "skateboard.1",
    "surfboard": "surfboard.1",
    "tennis racket": "racket.4",
    "bottle": "bottle.1 bottle.3",
    "wine glass": "wineglass.1 goblet.1 flute.3 snifter.1",
    "cup": "cup.1 mug.4 glass.2",
    "fork": "fork.1",
    "knife": "knife.1 knife.2",
    "spoon": "spoon.1 ladle.1",
    "bowl": "bowl.1 bowl.3",
    "banana": "banana.2 plantain.3",
    "apple": "apple.1",
    "sandwich": "sandwich.1",
    "orange": "orange.1 mandarin.5",
    "broccoli": "broccoli.2 broccoli.1",
    "carrot": "carrot.3 carrot.1",
    "hot dog": "hot dog.2 hot dog.3",
    "pizza": "pizza.1",
    "donut": "donut.1",
    "cake": "cake.3 -cookie.1 -pancake.1 -waffle.1",
    "chair": "chair.1 stool.1",
    "couch": "sofa.1",
    "potted plant": "=plant.2 pot plant.1 houseplant.1 flowerpot.1 bonsai.1",
    "bed": "bed.1",
    "dining table": "dining table.1 table.2 =table.3",
    "toilet": "toilet.2 urinal.1",
    "tv": "tv.2 =tv.1 =monitor.4 =display.6 computer screen.1",
    "laptop": "portable computer.1",
    "mouse": "mouse.4",
    "remote": "remote.1",
    "keyboard": "=keyboard.1 computer keyboard.1",
    "cell phone": "cellular telephone.1 =telephone.1",
    "microwave": "microwave.2",
    "oven": "oven.1 stove.1",
    "toaster": "toaster.2",
    "sink": "sink.1 washbasin.2",
    "refrigerator": "refrigerator.1",
    "book": "book.1 book.2 novel.1",
    "clock": "clock.1",
    "vase": "vase.1",
    "scissors": "scissors.1",
    "teddy bear": "teddy bear.1",
    "hair drier": "hair drier.1",
    "toothbrush": "toothbrush.1",
}

_ANIMALS = "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe"
_BIG_VEHICLES = "car, motorcycle, bus, truck"
_FOOD = "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake"
_ELECTRONICS = "tv, laptop, mouse, remote, keyboard, cell phone"
_EATING = "fork, knife, spoon"
_SPORTS = "frisbee, skis, snowboard, sports ball, baseball bat, baseball glove, skateboard, surfboard, tennis racket"

ABOVE = {
    "animal.1 vertebrate.1": _ANIMALS,
    "mammal.1 placental.1": _ANIMALS.removeprefix("bird, "),
    "domestic animal.1": "cat, dog, horse, sheep, cow",
    "livestock.1": "horse, sheep, cow",
    "pet.1": "cat, dog",
    "carnivore.1": "cat, dog, bear",
    "feline.1": "cat",
    "canine.2": "dog",
    "equine.1": "horse, zebra",
    "bovine.1": "cow",
    "bovid.1": "sheep, cow",
    "ungulate.1": "horse, sheep, cow, zebra, giraffe",
    "ruminant.1": "sheep, cow, giraffe",
    "pachyderm.1": "elephant",
    "vehicle.1 conveyance.3": "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    "motor vehicle.1": _BIG_VEHICLES,
    "wheeled vehicle.1": "bicycle, " + _BIG_VEHICLES,
    "public transport.1": "bus, train",
    "furniture.1 furnishing.2": "bench, chair, couch, bed, dining table",
    "seat.3": "bench, chair, couch",
    "food.1 food.2 foodstuff.2": _FOOD,
    "edible fruit.1 fruit.1": "banana, apple, orange",
    "citrus.1": "orange",
    "vegetable.1": "broccoli, carrot",
    "produce.1": "banana, apple, orange, broccoli, carrot",
    "fast food.1 junk food.1 snack food.1": "sandwich, hot dog, pizza",
    "baked goods.1 pastry.2 dessert.1": "donut, cake",
    "electronic device.1 electronic equipment.1": _ELECTRONICS,
    "computer.1 personal computer.1 digital computer.1": "laptop",
    "appliance.2 home appliance.1": "microwave, oven, toaster, refrigerator, hair drier",
    "kitchen appliance.1 white goods.1": "microwave, oven, toaster, refrigerator",
    "tableware.1 dinnerware.1 kitchen utensil.1 kitchenware.1": f"wine glass, cup, {_EATING}, bowl",
    "cutlery.2 silverware.1 flatware.1 flatware.2": _EATING,
    "crockery.1": "cup, bowl",
    "glassware.1 drinking vessel.1": "wine glass, cup",
    "container.1": "bottle, wine glass, cup, bowl, vase",
    "edge tool.1": "knife, scissors",
    "sports equipment.1 sporting goods.1": _SPORTS,
    "baseball equipment.1": "baseball bat, baseball glove",
    "plaything.1": "frisbee, kite, teddy bear",
    "bag.1": "backpack, handbag, suitcase",
    "plumbing fixture.1": "toilet, sink",
    "timepiece.1": "clock",
    "neckwear.1": "tie",
    "publication.1": "book",
    "street sign.1": "stop sign",
}

WORDS = {
    _ANIMALS: "wildlife",
    "elephant, bear, zebra, giraffe": "wild animal, zoo animal",
    "bicycle, motorcycle": "two wheeler, two wheeled vehicle",
    _ELECTRONICS: "electronics, consumer electronics",
    _SPORTS: "sports gear, sporting equipment",
    "stop sign": "traffic sign, road sign",
    "car": "suv",
    "cell phone": "smartphone, iphone",
    "potted plant": "indoor plant",
    "sports ball": "soccer ball",
    "teddy bear": "stuffed animal, stuffed toy, soft toy, plush toy, plushie",
}

OTHERWISE = frozenset(
    "electric upper diner wreck gladstone bumper video glove hog cub sharpie nutcracker chestnut beef bar flute "
    "vocabulary instructions jonathan prima delicious toby dirk kris baba argus blackburn brent dominique cochin "
    "cornish guinea mina phoebe reeve redhead merlin newfoundland pembroke shetland springer hampshire devon "
    "galloway guernsey hereford welsh angus durham chow derelict privateer stint brant drake dun jade sort da ma "
    "mon rn ex pol imp lulu sensation terror suicide authority intellect tarzan titan sherlock yahoo desperate "
    "voluntary ted tao lush immune dear seeker worthy aggregator proxy dakota cheyenne maya bravo anzac clutch".split()
)
