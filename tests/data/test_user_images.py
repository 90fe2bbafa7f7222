"""Images that a user names: folders, patterns, lists, addresses, and each with a name of its own."""

import http.server
import threading
import time

import pytest

from visionattn.data.unreadable import UnreadableImage
from visionattn.data.user_images import find_images
from visionattn.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "sub/a.png", "sub/.x.png", ".hid/c.png", "notes.md", "table.xlsx"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "photos"


def names(*args, **options):
    return [image.name for image in find_images(*args, **options)]


def test_cameras_and_videos_are_not_read(tmp_path):
    with pytest.raises(DataError, match=r"source=0 was not found; .* cameras and videos are not read"):
        find_images(0)
    (tmp_path / "a.MP4").write_bytes(b"x")
    with pytest.raises(DataError, match="is a video, of which no frames are read"):
        find_images(str(tmp_path / "a.MP4"))


def test_a_folder_gives_its_images_and_nothing_hidden(folder):
    assert names(str(folder)) == ["a.PNG", "b.jpg", "sub/a.png"]
    assert names(str(folder), recursive=False) == ["a.PNG", "b.jpg"]
    assert find_images(str(folder))[2].read() == b"sub/a.png"


def test_one_image_is_taken_whatever_its_ending(folder):
    assert names(str(folder / "notes.md")) == ["notes.md"]


def test_patterns_find_files_at_any_depth(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert names("photos/*.jpg") == ["b.jpg"]
    assert names("photos/**/*.png") == ["a.png"]
    assert names("photos/*") == ["a.PNG", "b.jpg"]
    assert names("photos/[ab].*") == ["a.PNG", "b.jpg"]


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path):
    (tmp_path / "scan[1].png").write_bytes(b"x")
    assert names(str(tmp_path / "scan[1].png")) == ["scan[1].png"]


def test_lists_give_paths_seen_from_their_folder(folder):
    (folder / "some.txt").write_bytes("﻿# chosen\nb.jpg\n\nsub/a.png\nb.jpg\nmissing.jpg\n".encode())
    found = find_images(str(folder / "some.txt"))
    assert [image.name for image in found] == ["b.jpg", "sub/a.png", "missing.jpg"]
    with pytest.raises(UnreadableImage, match="was not found"):
        found[2].read()
    (folder / "table.csv").write_text('file,label\n"b.jpg",3\nsub/a.png,4\n')
    assert names(str(folder / "table.csv")) == ["b.jpg", "sub/a.png"]


def test_files_of_one_name_in_different_folders_have_different_names(folder):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "b.jpg").write_bytes(b"other")
    sources = [str(folder / "b.jpg"), str(folder.parent / "other"), str(folder / "b.jpg")]
    assert names(sources) == ["photos/b.jpg", "other/b.jpg"]
    addresses = ["http://h/a.png?x=1", "http://h/a.png?x/1", "http://h/A.png?x_1", "http://h:80/../../etc/a.png"]
    assert names(addresses) == ["h/a.png_x_1", "h/a_2.png_x_1", "h/A_3.png_x_1", "h_80/etc/a.png"]


def test_the_output_folder_is_no_source(folder):
    assert names(str(folder), without=folder / "sub") == ["a.PNG", "b.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("photos/*.gif", r"matches nothing \(seen from .*"),
        ("photos/*.md", "matches 1 name, none an image file"),
        ("nowhere", "source=nowhere was not found; a source is an image, a folder"),
        ("empty", "source=empty holds no file with the ending of an image"),
        ("only_text", r"holds 1 other file, none with the ending .*\.tiff \.webp\)$"),
        ("", "source is empty"),
        ("bad.txt", "is no list of images in UTF-8"),
        ("blank.txt", "lists no image"),
    ],
)
def test_a_source_without_images_is_answered_in_one_sentence(folder, monkeypatch, source, message):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    (folder.parent / "only_text").mkdir()
    (folder.parent / "only_text" / "a.txt").write_text("x")
    (folder.parent / "bad.txt").write_bytes(b"a.png\n\xff\xfe\n")
    (folder.parent / "blank.txt").write_text("\n# nothing\n")
    with pytest.raises(DataError, match=message) as error:
        find_images(source)
    assert "\n" not in str(error.value)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as the path says."""

    def do_GET(self):
        if self.path == "/missing.png":
            return self.send_error(404)
        if self.path == "/hangs.png":
            time.sleep(1.5)
            return None
        if self.path == "/away.png":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            return self.end_headers()
        size = {"/large.png": 3 * 2**20}.get(self.path, 5)
        kind = {"/page.html": "text/html; charset=utf-8"}.get(self.path, "image/png")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size + 9 * (self.path == "/cut.png")))
        self.end_headers()
        if self.path == "/drips.png":
            for _ in range(5):
                self.wfile.write(b"x")
                time.sleep(0.3)
            return None
        return self.wfile.write(b"x" * size)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def fetch(url):
    return find_images(url, timeout=0.6, megabytes=2)[0].read()


def test_an_address_gives_its_bytes(server):
    assert fetch(f"{server}/a.png") == b"xxxxx"
    assert names(f"{server}/deep/a.png")[0].endswith("/deep/a.png")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing.png", "the server answered 404 Not Found"),
        ("/hangs.png", r"the server took more than 0.6 s \(timeout=0.6\)"),
        ("/drips.png", r"the server took more than 0.6 s \(timeout=0.6\)"),
        ("/page.html", "answered with text/html, not with an image"),
        ("/large.png", r"it has more than 2 MB \(megabytes=2\)"),
        ("/cut.png", "cut off after 5 of 14 bytes"),
        ("/away.png", "the server answered 302"),
    ],
)
def test_an_address_without_an_image_is_answered_with_the_reason(server, path, message):
    with pytest.raises(UnreadableImage, match=message):
        fetch(server + path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.png", "http://[::1", "http://a b/c.png", "http://"])
def test_an_address_that_leads_nowhere_is_answered_with_the_reason(url):
    with pytest.raises(UnreadableImage, match="it cannot be reached"):
        fetch(url)
