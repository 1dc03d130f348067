"""
Search your own folder of photos
================================

You have a folder of photos and one new photo. Which of the old ones look like it? We start from files on disk, one of
them broken, and end with a database that can grow and shrink.
"""

# %%
# A folder of photos
# ------------------
# This stands in for your own folder, so that the example runs anywhere: squares cut from the two photographs that come
# with scikit-learn, and enlarged handwritten digits. The squares in the folder come from the left part of each object,
# so that we can search with squares from its right part later. One file is cut off after 200 bytes, as happens when a
# copy is interrupted.
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

flower_photo, temple_photo = load_sample_image("flower.jpg"), load_sample_image("china.jpg")
digits = load_digits()
rng = np.random.default_rng(0)


def cut_square(photo, rows, columns, side=112):
    """Cut a random square out of a part of a photograph."""
    top, left = rng.integers(rows[0], rows[1] - side), rng.integers(columns[0], columns[1] - side)
    return Image.fromarray(photo[top : top + side, left : left + side])


def enlarge_digit(position):
    """Make an image of 112 x 112 pixels of a digit."""
    pixels = (digits.images[position] * (255 / 16)).round().astype(np.uint8)
    return Image.fromarray(pixels).resize((112, 112))


temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name) / "photos"
for number in range(24):
    photos = {
        "digit": enlarge_digit(number),
        "flower": cut_square(flower_photo, rows=(70, 360), columns=(150, 310)),
        "leaves": cut_square(flower_photo, rows=(0, 427), columns=(0, 150)),
        "sky": cut_square(temple_photo, rows=(0, 200), columns=(370, 500)),
        "temple": cut_square(temple_photo, rows=(60, 380), columns=(70, 215)),
    }
    for name, photo in photos.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        photo.save(folder / name / f"{number:03d}.jpg")

complete_file = (folder / "temple" / "000.jpg").read_bytes()
(folder / "temple" / "broken.jpg").write_bytes(complete_file[:200])

# %%
# List the files
# --------------
# Each subfolder is a class. No image is opened here. A folder without classes needs no loader:
# ``sorted(Path(folder).rglob("*.jpg"))`` is a list of images already.
from skhash.datasets import load_image_folder

dataset = load_image_folder(folder)
print(len(dataset.images), "files,", "classes", dataset.target_names)

# %%
# Find the files that cannot be read
# ----------------------------------
# By default a broken file stops :class:`~skhash.CNNFeatures` with an error that names it. Take such files and
# their labels out before the fit, so that images, labels and codes stay in step. Keep the list: it is the answer to
# "why is my photo not found?"
from skhash.features import find_unreadable_images

unreadable = find_unreadable_images(dataset.images)
for image in unreadable:
    print(f"position {image.index}, {dataset.filenames[image.index]}: {image.message}")

positions = [image.index for image in unreadable]
images = np.delete(dataset.images, positions)
filenames = np.delete(dataset.filenames, positions)
labels = np.delete(dataset.target, positions)
print(len(images), "images are left")

# %%
# Index the folder
# ----------------
# Files become features, features become codes of 64 bits, and the codes are the database. The labels are not used for
# learning here, only for the captions and the score.
from skhash import ITQ, CNNFeatures, HammingNearestNeighbors, RetrievalPipeline

pipeline = RetrievalPipeline(
    [
        ("features", CNNFeatures(cache_dir=Path(temporary.name) / "cache")),
        ("hash", ITQ(n_bits=64, random_state=0)),
        ("search", HammingNearestNeighbors()),
    ]
)
pipeline.fit(images, labels)
print("bytes of codes:", pipeline["search"].codes_.nbytes)

# %%
# Search with photos from outside
# -------------------------------
# The new photos come from the right parts and share no pixel with the folder. The digit is one that the folder does
# not hold.
from skhash.inspection import RetrievalGalleryDisplay

new_photos = [
    enlarge_digit(100),
    cut_square(flower_photo, rows=(70, 360), columns=(310, 450)),
    cut_square(flower_photo, rows=(0, 427), columns=(480, 640)),
    cut_square(temple_photo, rows=(0, 200), columns=(500, 640)),
    cut_square(temple_photo, rows=(60, 380), columns=(215, 350)),
]
new_labels = [0, 1, 2, 3, 4]
display = RetrievalGalleryDisplay.from_estimator(
    pipeline,
    new_photos,
    images,
    query_labels=new_labels,
    n_neighbors=6,
    target_names=dataset.target_names,
)

# %%
# Ids are positions in ``images`` unless you pass your own, so they lead back to the files.
distances, ids = pipeline.kneighbors(new_photos, n_neighbors=3)
for label, row_distances, row_ids in zip(new_labels, distances, ids, strict=True):
    print(f"{dataset.target_names[label]:6s}: files {filenames[row_ids]} at distances {row_distances}")

# %%
# Add a photo, remove a photo
# ---------------------------
# Neither fits anything again. A new item gets the next number as its id, and ids of removed items are not used again.
pipeline.add(new_photos[1:2], new_labels[1:2])
distances, ids = pipeline.kneighbors(new_photos[1:2], n_neighbors=2)
print(f"after adding, the nearest id is {ids[0, 0]} at distance {distances[0, 0]}")

pipeline.remove(ids[0, 0])
distances, ids = pipeline.kneighbors(new_photos[1:2], n_neighbors=2)
print(f"after removing, the nearest id is {ids[0, 0]} at distance {distances[0, 0]}")

# %%
# Conclusion
# ----------
# A folder becomes searchable in four steps: list the files, take out the broken ones, fit, search. This folder is an
# easy one, since all squares of a class come from one photograph. With your own photos, look at galleries before you
# trust a score.
score = pipeline.score(new_photos, new_labels)
print(f"mAP of the {len(new_photos)} new photos: {score:.3f}")
temporary.cleanup()
