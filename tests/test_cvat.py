"""CVAT's XML: labels of tags and shapes, in the order of the task."""

import pytest
from PIL import Image

from ccr_diag.data import DATASETS, load_dataset
from ccr_diag.errors import BadData

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>7</id>
      <labels>
        <label><name>dog</name><color>#ff0000</color><type>any</type><attributes>
          <attribute><name>age</name><mutable>False</mutable></attribute></attributes></label>
        <label><name>cat</name><type>rectangle</type></label>
        <label><name>person</name><type>skeleton</type></label>
        <label><name>elbow</name><type>points</type><parent>person</parent></label>
        <label><name>Möwe</name></label>
      </labels>
    </task>
    <dumped>2026-01-01</dumped>
  </meta>
  <image id="0" name="a b/1.jpg" subset="Train" width="4" height="3">
    <box label="cat" source="manual" occluded="0" xtl="0" ytl="0" xbr="1" ybr="1" z_order="0">
      <attribute name="age">3</attribute>
    </box>
    <box label="cat" source="auto" occluded="1" xtl="0" ytl="0" xbr="1" ybr="1" z_order="0"/>
    <tag label="Möwe" source="manual"></tag>
  </image>
  <image id="2" name="a b\\2.jpg" subset="Test" width="4" height="3">
    <skeleton label="person" source="manual"><points label="elbow" points="1,2"/></skeleton>
    <polygon label="dog" points="0,0;1,1;1,0"/>
  </image>
  <image id="5" name="3.jpg" subset="Test" width="4" height="3">
  </image>
</annotations>
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "a b").mkdir(parents=True)
    for i, name in enumerate(["a b/1.jpg", "a b/2.jpg", "3.jpg"]):
        Image.new("RGB", (4, 3), (80 * i, 0, 0)).save(tmp_path / "images" / name)
    return tmp_path


def load(folder, text=XML, split="all", unlisted="negative"):
    path = folder / "annotations.xml"
    path.write_text(text, encoding="utf-8")
    return load_dataset(f"cvat:{path}", split, unlisted)


def refusal(folder, text, unlisted="negative"):
    with pytest.raises(BadData) as error:
        load(folder, text, unlisted=unlisted)
    return str(error.value).replace(f"{folder}/", "")


def test_labels_of_tags_and_shapes(folder):
    data = load(folder)
    assert data.class_names == ("dog", "cat", "person", "Möwe")
    assert data.labels.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert [data.open_image(i).getpixel((0, 0))[0] // 70 for i in range(3)] == [0, 1, 2]
    assert (data.image_ids[0], data.notes) == ("a b/1.jpg", ())
    assert load(folder, unlisted="unknown").labels.tolist()[2] == [-1] * 4


def test_metadata_of_an_image_is_no_label(folder):
    text = XML.replace('<tag label="Möwe"', '<metadata/><tag label="Möwe"')
    assert load(folder, text).labels.tolist() == load(folder).labels.tolist()


def test_subsets_are_splits(folder):
    assert len(load(folder, split="Test")) == 2
    assert load(folder, split="Train").image_ids == ("a b/1.jpg",)
    spec = str(folder / "annotations.xml")
    assert DATASETS["cvat"].splits(spec) == ("Train", "Test")


def test_images_beside_the_file_and_no_declared_labels(folder):
    text = XML[: XML.index("<meta>")] + XML[XML.index("</meta>") + 7 :]
    for path in (folder / "images").iterdir():
        path.rename(folder / path.name)
    (folder / "images").rmdir()
    data = load(folder, text)
    assert data.class_names == ("Möwe", "cat", "dog", "person")
    assert data.labels.sum() == 4


BOMB = '<!DOCTYPE a [<!ENTITY x "x"><!ENTITY y "&x;&x;">]><annotations>&y;</annotations>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            XML.replace("<image", '<track id="0" label="dog"/><image', 1),
            "An export of CVAT, annotations.xml, must list images, but has tracks of a video; ",
        ),
        (XML[:900], "An export of CVAT, annotations.xml, must be whole XML, but is not ("),
        (BOMB, "An export of CVAT, annotations.xml, must not declare entities, which can fill the"),
        ("<COCO/>", "An export of CVAT, annotations.xml, must have the root element annotations, "),
        (
            XML.replace('name="3.jpg" ', ""),
            "An export of CVAT, annotations.xml, must name each image, but image 3 has no name.",
        ),
        (
            XML.replace('<tag label="Möwe"', "<tag"),
            "An export of CVAT, annotations.xml, must give each tag and shape a label, but one of "
            "image 1, 'a b/1.jpg', has none.",
        ),
        (
            XML.replace('<tag label="Möwe"', '<tag label="dogs"'),
            "annotations.xml image 1 must name classes that the file declares, but names 'dogs'; "
            "did you mean 'dog'?",
        ),
        (
            XML.replace("3.jpg", "../3.jpg"),
            "An image must lie in the folder of its data set, ",
        ),
        (XML.replace("3.jpg", "4.jpg"), "annotations.xml must name images that are there, relativ"),
        (
            XML.replace("<name>cat<", "<name>Dog<"),
            "annotations.xml image 1 must name classes that the file declares, but names 'cat'",
        ),
    ],
)
def test_refusals(folder, text, expected):
    assert refusal(folder, text).startswith(expected)


def test_what_is_not_labelled_must_be_declared(folder):
    assert "does not say what a class means" in refusal(folder, XML, "stated")


def test_a_folder_is_refused(folder):
    with pytest.raises(BadData, match="cvat needs the XML file of an export"):
        load_dataset(f"cvat:{folder}", "all")
