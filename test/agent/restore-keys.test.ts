import { RestoreKeyring } from "../../agent/restore-keys.ts";
import { encryptAge } from "../../shared/repository/age.ts";
import { expectCode } from "../shared/repository/expect-code.ts";

describe("the keys of a restore", () => {
  const restoreId = "restore00001";

  it("are refused where anybody else sealed something to the recipient, which the queue shows", async () => {
    const keyring = new RestoreKeyring();
    const recipient = await keyring.recipient(restoreId, 0);
    for (const text of ["a text", "{}", "[", ""]) {
      const sealed = Buffer.from(await encryptAge(Buffer.from(text), [recipient])).toString("base64");
      await expectCode("SKEP_RESTORE_KEYS_INVALID", () => keyring.open(restoreId, sealed));
    }
  });
});
