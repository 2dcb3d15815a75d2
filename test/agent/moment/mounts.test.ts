import { expect } from "chai";
import { hasMountsBelow, isListed, isMountedBelow, mountListOf } from "../../../agent/moment/mounts.ts";

describe("the mounts of a process", () => {
  const mountinfo = [
    "22 28 0:21 / / rw,relatime shared:1 - btrfs /dev/sda1 rw",
    "40 22 0:40 / /var/lib/docker/volumes/a/_data rw - btrfs /dev/sda1 rw",
    "41 40 0:41 / /var/lib/docker/volumes/a/_data/in rw - tmpfs tmpfs rw",
    "42 22 0:42 / /var/lib/docker/volumes/with\\040blank/_data/in rw - tmpfs tmpfs rw",
    "",
  ].join("\n");

  it("below a folder are found, whatever their names are", () => {
    expect(isMountedBelow(mountinfo, "/var/lib/docker/volumes/a/_data")).to.equal(true);
    expect(isMountedBelow(mountinfo, "/var/lib/docker/volumes/with blank/_data")).to.equal(true);
  });

  it("on a folder, or beside it, are none below it", () => {
    expect(isMountedBelow(mountinfo, "/var/lib/docker/volumes/a/_data/in")).to.equal(false);
    expect(isMountedBelow(mountinfo, "/var/lib/docker/volumes/a/_dat")).to.equal(false);
  });

  it("are its own, or those of the process below whose root the folder lies", () => {
    expect(mountListOf("/host/var/a")).to.deep.equal({ list: "/proc/self/mountinfo", place: "/host/var/a" });
    expect(mountListOf("/proc/12/root/var/a")).to.deep.equal({ list: "/proc/12/mountinfo", place: "/var/a" });
    expect(hasMountsBelow("/proc")).to.equal(hasMountsBelow(`/proc/${process.pid}/root/proc`));
    expect(hasMountsBelow("/dev")).to.equal(true);
  });

  it("are not guessed from a list that has the folder's own mount not, or elsewhere", () => {
    expect(isListed(mountinfo, "40", "/var/lib/docker/volumes/a/_data/b")).to.equal(true);
    expect(isListed(mountinfo, "22", "/var/lib")).to.equal(true);
    expect(isListed(mountinfo, "40", "/host/var/lib/docker/volumes/a/_data")).to.equal(false);
    expect(isListed(mountinfo, "4", "/var/lib/docker/volumes/a/_data")).to.equal(false);
  });
});
