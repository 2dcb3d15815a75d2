import { expect } from "chai";
import { redact } from "../../../agent/quiesce/container-command.ts";

describe("what a command wrote", () => {
  for (const [text, secret] of [
    ["connect failed: password=hunter2 host=db", "hunter2"],
    ['{"api_key": "hunter2"}', "hunter2"],
    ["PGPASSWORD=hunter2 psql: error", "hunter2"],
    ["mysqldump --password hunter2 -u root", "hunter2"],
    ["postgres://app:hunter2@db:5432/shop refused", "hunter2"],
    ["Authorization: Bearer abcdef0123456789", "abcdef0123456789"],
    ["AWS_SECRET_ACCESS_KEY='hun ter2'", "hun ter2"],
    ["AGE-SECRET-KEY-1QQQQ", "1QQQQ"],
    ["-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----", "MIIhunter2"],
    ["-----BEGIN PRIVATE KEY-----\nMIIhunter2 cut of", "MIIhunter2"],
    ["MIIhunter2\n-----END PRIVATE KEY-----", "MIIhunter2"],
  ] as const) {
    it(`is kept without its secret: ${text.slice(0, 40).replace(/\n/g, " ")}`, () => {
      expect(redact(text)).to.not.contain(secret);
      expect(redact(text)).to.contain("[redacted]");
    });
  }

  it("is kept as it is where it has none", () => {
    for (const text of ['FATAL: database "shop" does not exist', "dump of 12 tables: done", ""]) {
      expect(redact(text)).to.equal(text);
    }
  });
});
