"""The same drawn images in the layout of each format, with the fields that its own tools write."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image, ImageDraw

CLASSES = (
    "person",
    "traffic light",
    "café au lait",
    "dog, wet",
    "R&B <singer>",
    "鳥",
    '\'90s "tv"',
    "hot_dog",
)
SIZE = (24, 18)
BOX = (2, 3, 9, 11)  # left, top, right, bottom
SPLIT = "train"


@dataclass(frozen=True)
class Drawn:
    """Images on the disk and their labels.

    Args:
        folder: where they lie.
        stems: their names without the ending, ``.jpg``.
        labels: (images, classes), of ``CLASSES``: 1, 0 or −1.
    """

    folder: Path
    stems: tuple[str, ...]
    labels: np.ndarray

    def link_images(self, folder: Path) -> None:
        """The same files in another folder."""
        folder.mkdir(parents=True)
        for stem in self.stems:
            (folder / f"{stem}.jpg").hardlink_to(self.folder / f"{stem}.jpg")

    def of(self, i: int, value: int) -> list[int]:
        """The classes that have this label in image ``i``."""
        return np.flatnonzero(self.labels[i] == value).tolist()

    def names(self, i: int, value: int) -> list[str]:
        """The names of these."""
        return [CLASSES[c] for c in self.of(i, value)]


def draw(folder: Path, n: int = 60, unknown: bool = False, seed: int = 0) -> Drawn:
    """Write images of boxes, no two the same; the first shows nothing.

    Args:
        folder: to write to.
        n: images.
        unknown: whether some labels are.
        seed: of the labels.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, len(CLASSES))) < 0.3).astype(np.int8)
    labels[0] = 0
    if unknown:
        labels[rng.random(labels.shape) < 0.1] = -1
    # Numbers with gaps, as sets of which images were taken out have, and names that people give.
    stems = [f"{7 * i + 9:012d}" for i in range(n - 2)] + ["scène 07", "a.b-c_(2)"]
    for i, stem in enumerate(stems):
        picture = Image.new("RGB", SIZE, (4 * i % 256, 90, 200 - 3 * i))
        for c in np.flatnonzero(labels[i] == 1).tolist():
            ImageDraw.Draw(picture).rectangle((3 * c, 2, 3 * c + 1, 12), fill="white")
        picture.save(folder / f"{stem}.jpg", quality=95)
    return Drawn(folder, tuple(stems), labels)


def write_coco(folder: Path, drawn: Drawn, split: str = SPLIT) -> str:
    """Ids with gaps, categories out of order, crowds, and the same class twice in an image."""
    assert (drawn.labels >= 0).all(), "COCO has no unknown labels"
    drawn.link_images(folder / split)
    width, height = SIZE
    image_ids = [i * i + 13 for i in range(len(drawn.stems))]
    category_ids = [(5 * c) % 11 + 1 + 20 * (c % 2) for c in range(len(CLASSES))]
    annotations = []
    for i in range(len(drawn.stems)):
        for c in drawn.of(i, 1):
            for crowd in [0, 0] if (i + c) % 3 else [1]:
                left, top, right, bottom = BOX
                annotations.append(
                    {
                        "segmentation": {"counts": [40, 8, 384], "size": [height, width]}
                        if crowd
                        else [[left, top, right, top, right, bottom]],
                        "area": 24.5,
                        "iscrowd": crowd,
                        "image_id": image_ids[i],
                        "bbox": [left, top, right - left, bottom - top],
                        "category_id": category_ids[c],
                        "id": 900_100_000_000 + 3 * len(annotations),
                    }
                )
    content = {
        "info": {"description": "Drawn boxes", "year": 2017, "version": "1.0"},
        "licenses": [{"id": 1, "name": "CC BY 2.0", "url": "http://example.org"}],
        "images": [
            {
                "license": 1,
                "file_name": f"{stem}.jpg",
                "coco_url": f"http://example.org/{i}",
                "height": height,
                "width": width,
                "id": i,
            }
            for stem, i in zip(drawn.stems, image_ids, strict=True)
        ],
        "annotations": annotations[::-1],
        "categories": [
            {"supercategory": "thing", "id": i, "name": name}
            for name, i in zip(CLASSES, category_ids, strict=True)
        ],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    path = folder / "annotations" / f"instances_{split}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"coco:{folder}"


def write_voc(folder: Path, drawn: Drawn) -> str:
    """An unknown class has difficult objects alone; where one is clear, others may be difficult."""
    drawn.link_images(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    width, height = SIZE
    left, top, right, bottom = BOX
    for i, stem in enumerate(drawn.stems):
        things = [(name, "1") for name in drawn.names(i, -1)]
        for name in drawn.names(i, 1):
            things += [(name, "0"), (name, "1")] if i % 3 else [(name, "")]
        objects = "".join(
            f"""\t<object>
\t\t<name>{escape(name)}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
{f"		<difficult>{difficult}</difficult>" if difficult else ""}
\t\t<bndbox>
\t\t\t<xmin>{left}</xmin>
\t\t\t<ymin>{top}</ymin>
\t\t\t<xmax>{right}</xmax>
\t\t\t<ymax>{bottom}</ymax>
\t\t</bndbox>
\t</object>
"""
            for name, difficult in things
        )
        text = f"""<annotation>
\t<folder>VOC2012</folder>
\t<filename>{escape(stem)}.jpg</filename>
\t<source>
\t\t<database>The VOC2012 Database</database>
\t\t<annotation>PASCAL VOC2012</annotation>
\t\t<image>flickr</image>
\t</source>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
{objects}</annotation>
"""
        (folder / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")
    listed = "".join(f"{stem}\r\n" for stem in drawn.stems)
    (folder / "ImageSets" / "Main" / f"{SPLIT}.txt").write_text(listed, encoding="utf-8")
    return f"voc:{folder}"


def write_cvat(folder: Path, drawn: Drawn) -> str:
    """“CVAT for images 1.1”: tags of whole images, and boxes."""
    drawn.link_images(folder / "images")
    width, height = SIZE
    left, top, right, bottom = BOX
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    lines += ["  <meta>", "    <task>", "      <id>7</id>", "      <name>drawn</name>"]
    lines += [f"      <size>{len(drawn.stems)}</size>", "      <mode>annotation</mode>"]
    lines += ["      <labels>"]
    for name in CLASSES:
        lines += [
            "        <label>",
            f"          <name>{escape(name)}</name>",
            "          <color>#fa3253</color>",
            "          <type>any</type>",
            "          <attributes>",
            "          </attributes>",
            "        </label>",
        ]
    lines += ["      </labels>", "    </task>", "    <dumped>2026-01-02 03:04:05+00:00</dumped>"]
    lines += ["  </meta>"]
    for i, stem in enumerate(drawn.stems):
        size = f'width="{width}" height="{height}"'
        lines.append(f'  <image id="{i}" name={quoteattr(f"{stem}.jpg")} {size}>')
        for name in drawn.names(i, 1):
            label = f'label={quoteattr(name)} source="manual"'
            if i % 2:
                lines += [f"    <tag {label}>", "    </tag>"]
            else:
                box = f'xtl="{left}.00" ytl="{top}.00" xbr="{right}.00" ybr="{bottom}.00"'
                lines += [f'    <box {label} occluded="0" {box} z_order="0">', "    </box>"]
        lines.append("  </image>")
    lines.append("</annotations>")
    path = folder / "annotations.xml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return f"cvat:{path}"


def write_openimages(folder: Path, drawn: Drawn) -> str:
    """Every known pair verified by people, shuffled, among the guesses of machines."""
    drawn.link_images(folder / SPLIT)
    mids = [f"/m/0{c}x{9 - c}" for c in range(len(CLASSES))]
    sources = ("verification", "crowdsource-verification")
    rows = []
    for i, stem in enumerate(drawn.stems):
        for value in (1, 0):
            rows += [[stem, sources[(i + c) % 2], mids[c], str(value)] for c in drawn.of(i, value)]
        rows.append([stem, "machine", mids[i % len(mids)], "0.7"])
    order = np.random.default_rng(1).permutation(len(rows)).tolist()
    name = f"oidv6-{SPLIT}-annotations-human-imagelabels.csv"
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["ImageID", "Source", "LabelName", "Confidence"], *(rows[k] for k in order)]
        )
    with (folder / "oidv6-class-descriptions.csv").open("w", newline="", encoding="utf-8") as file:
        names = [list(pair) for pair in zip(mids, CLASSES, strict=True)]
        csv.writer(file).writerows([["LabelName", "DisplayName"], *names])
    return f"openimages:{folder}"


def write_yolo(folder: Path, drawn: Drawn) -> str:
    """A YAML file, a list of images, and a text of boxes beside each; none where nothing is."""
    drawn.link_images(folder / "images" / SPLIT)
    (folder / "labels" / SPLIT).mkdir(parents=True)
    for i, stem in enumerate(drawn.stems):
        boxes = [f"{c} 0.229167 0.388889 0.291667 0.444444\n" for c in drawn.of(i, 1)]
        if boxes or i % 2:
            (folder / "labels" / SPLIT / f"{stem}.txt").write_text("".join(boxes))
    listed = "".join(f"./images/{SPLIT}/{stem}.jpg\n" for stem in drawn.stems)
    (folder / f"{SPLIT}.txt").write_text(listed, encoding="utf-8")
    names = "".join(f"  {c}: {json.dumps(n, ensure_ascii=False)}\n" for c, n in enumerate(CLASSES))
    path = folder / "data.yaml"
    path.write_text(
        f"# Drawn boxes\npath: .\ntrain: {SPLIT}.txt\nval:\n\nnames:\n{names}", encoding="utf-8"
    )
    return f"yolo:{path}"


def write_csv(folder: Path, drawn: Drawn) -> str:
    """As a spreadsheet saves it: with a byte order mark, and quotes round what holds a comma."""
    drawn.link_images(folder / "my images")
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "split"])
        for i, stem in enumerate(drawn.stems):
            labels = json.dumps(drawn.names(i, 1), ensure_ascii=False)
            writer.writerow([f"my images/{stem}.jpg", labels, SPLIT])
    return f"manifest:{path}"


def write_parquet(folder: Path, drawn: Drawn) -> str:
    """Lists of names; pandas and others write such files."""
    import pyarrow as pa
    from pyarrow import parquet

    drawn.link_images(folder / "images")
    columns = {
        "image": [f"images/{stem}.jpg" for stem in drawn.stems],
        "labels": [drawn.names(i, 1) for i in range(len(drawn.stems))],
        "split": [SPLIT] * len(drawn.stems),
    }
    parquet.write_table(pa.table(columns), folder / "labels.parquet")
    return f"manifest:{folder / 'labels.parquet'}"
