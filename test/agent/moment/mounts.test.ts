import { expect } from "chai";
import { hasMountsBelow } from "../../../agent/moment/mounts.ts";

describe("the mounts of a process", () => {
  const mountinfo = [
    "22 28 0:21 / / rw,relatime shared:1 - btrfs /dev/sda1 rw",
    "40 22 0:40 / /var/lib/docker/volumes/a/_data rw - btrfs /dev/sda1 rw",
    "41 40 0:41 / /var/lib/docker/volumes/a/_data/in rw - tmpfs tmpfs rw",
    "42 22 0:42 / /var/lib/docker/volumes/with\\040blank/_data/in rw - tmpfs tmpfs rw",
    "",
  ].join("\n");

  it("below a folder are found, whatever their names are", () => {
    expect(hasMountsBelow(mountinfo, "/var/lib/docker/volumes/a/_data")).to.equal(true);
    expect(hasMountsBelow(mountinfo, "/var/lib/docker/volumes/with blank/_data")).to.equal(true);
  });

  it("on a folder, or beside it, are none below it", () => {
    expect(hasMountsBelow(mountinfo, "/var/lib/docker/volumes/a/_data/in")).to.equal(false);
    expect(hasMountsBelow(mountinfo, "/var/lib/docker/volumes/a/_dat")).to.equal(false);
  });
});
