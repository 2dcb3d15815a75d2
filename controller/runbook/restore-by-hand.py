#!/usr/bin/env python3
"""Restores one volume from a copy of a Skep repository with age, zstd and Python alone: docs/FORMAT.md as a program.

usage: restore-by-hand.py STORE EPOCH_IDENTITY MANIFEST TARGET [LIST]

STORE is a folder with the repository's objects. LIST names those that this volume needs, a key a line; without it every
pack in STORE is read. Needs Python 3.6 and nothing beside its own modules. Run it as root, or owners are left out.
"""
import base64, json, os, pathlib, stat, struct, subprocess, sys

if len(sys.argv) not in (5, 6):
    sys.exit(__doc__)
store, identity, manifest, target = sys.argv[1:5]


def run(command, data=None):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def decrypt(path):
    return run(["age", "-d", "-i", identity, str(path)])


def unzstd(data):
    return run(["zstd", "-d", "-q", "-c"], data)


# Every pack's own table: chunk name -> (pack, offset of its frame, length of the frame, length of the chunk)
places = {}
if len(sys.argv) == 6:
    keys = pathlib.Path(sys.argv[5]).read_text().split()
    packs = [pathlib.Path(store, key) for key in keys if key.startswith("packs/")]
else:
    packs = sorted(pathlib.Path(store, "packs").glob("*/*"))
for pack in packs:
    if not pack.is_file():
        sys.exit(
            f"{pack} is not there: copy it; if the repository was compacted since, copy all of packs/ and leave LIST out"
        )
    plain = decrypt(pack)
    count, version, magic = struct.unpack("<II8s", plain[-16:])
    if magic != b"SKEPPACK" or version != 1:
        sys.exit(f"{pack} does not end with a chunk table")
    offset, start = 0, len(plain) - 16 - 40 * count
    for row in range(count):
        name, frame, length = struct.unpack_from("<32sII", plain, start + 40 * row)
        places[name.hex()] = (pack, offset, frame, length)
        offset += frame

opened = {}


def chunk(name):
    pack, offset, frame, length = places[name]
    if pack not in opened:
        opened.clear()
        opened[pack] = decrypt(pack)
    content = unzstd(opened[pack][offset : offset + frame])
    if len(content) != length:
        sys.exit(f"chunk {name} of {pack} has another length")
    return content


def content(extents):
    """Bytes, or the number of zero bytes that lie nowhere."""
    for name, offset, length in extents:
        yield length if name is None else chunk(name)[offset : offset + length]


def zeros_too(parts):
    return b"".join(bytes(part) if isinstance(part, int) else part for part in parts)


def set_xattrs(path, entry):
    for name, value in entry.get("xattrs", {}).items():
        try:
            os.setxattr(path, name, base64.b64decode(value), follow_symlinks=False)
        except OSError as error:
            print(f"left out: attribute {name} of {path!r}: {error}", file=sys.stderr)


def text(entry, field):
    if field + "Base64" in entry:
        return base64.b64decode(entry[field + "Base64"])
    return entry[field].encode()


def within(name):
    """Where that is in the target: below real folders there, so that no name and no link written before leads outside."""
    path = os.path.realpath(os.fsencode(target))
    for part in name.split(b"/") if name else []:
        if part in (b"", b".", b"..") or not stat.S_ISDIR(os.lstat(path).st_mode):
            sys.exit(f"the manifest names {name!r}, which leads out of the target")
        path = os.path.join(path, part)
    return path


root = json.loads(unzstd(decrypt(manifest)))
lines = zeros_too(content(root["extents"])).splitlines()
folders = []
number = 0
while number < len(lines):
    entry = json.loads(lines[number])
    number += 1
    path = within(text(entry, "path"))
    if os.path.lexists(path) and stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFDIR, stat.S_IFREG):
        sys.exit(f"{path!r} is there already, and is no file")
    kind, mtime = entry["type"], int(entry["mtimeNs"])
    if kind == "directory":
        os.makedirs(path, exist_ok=True)
        folders.append((path, entry))
        continue
    if "hardLinkTo" in entry or "hardLinkToBase64" in entry:
        os.link(within(text(entry, "hardLinkTo")), path, follow_symlinks=False)
        continue
    if kind == "symlink":
        os.symlink(text(entry, "linkTarget"), path)
    elif kind == "file":
        extents = list(entry["extents"])
        for _ in range(entry.get("moreLines", 0)):
            extents += json.loads(lines[number])["extents"]
            number += 1
        with open(path, "wb") as file:
            for part in content(extents):
                if isinstance(part, int):
                    file.seek(part, os.SEEK_CUR)
                else:
                    file.write(part)
            file.truncate()
        if os.path.getsize(path) != entry["sizeBytes"]:
            sys.exit(f"{path} has another length")
    elif kind == "fifo":
        os.mkfifo(path)
    elif os.geteuid() == 0:
        kinds = {"character-device": stat.S_IFCHR, "block-device": stat.S_IFBLK}
        os.mknod(path, 0o600 | kinds[kind], os.makedev(*entry["device"]))
    else:
        print(f"left out: {kind} {path!r}", file=sys.stderr)
        continue
    if os.geteuid() == 0:
        os.chown(path, entry["uid"], entry["gid"], follow_symlinks=False)
    set_xattrs(path, entry)
    if kind != "symlink":
        os.chmod(path, entry["mode"])
    os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
for path, entry in reversed(folders):
    if os.geteuid() == 0:
        os.chown(path, entry["uid"], entry["gid"])
    set_xattrs(path, entry)
    os.chmod(path, entry["mode"])
    os.utime(path, ns=(int(entry["mtimeNs"]), int(entry["mtimeNs"])))
