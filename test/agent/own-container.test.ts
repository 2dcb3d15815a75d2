import { expect } from "chai";
import { containerIdOf } from "../../agent/own-container.ts";

const id = "0123456789abcdef".repeat(4);

describe("the container that an agent runs in", () => {
  it("is found by where its /etc/hostname is mounted from, whatever the data root", () => {
    const mountinfo = [
      "550 548 0:53 / / rw,relatime - overlay overlay rw,lowerdir=/x",
      `560 550 8:1 /data/docker/containers/${id}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw`,
      `561 550 8:1 /data/docker/containers/${id}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw`,
    ].join("\n");
    expect(containerIdOf(mountinfo)).to.equal(id);
  });

  it("is none on the host, where a container's files are seen elsewhere", () => {
    const mountinfo = `561 550 8:1 /var/lib/docker/containers/${id}/hostname /host/x rw - ext4 /dev/sda1 rw`;
    expect(containerIdOf(mountinfo)).to.equal(null);
  });
});
