// A bucket of the lab's S3 server (a real Ceph gateway), for the cases that store there.
import { Lab } from "../lab/lab.ts";

export interface Bucket {
  resticRepository: string;
  /** Environment for Skep's process and restic. */
  variables: () => Promise<Record<string, string>>;
}

/** Makes a lab of nothing but the server, and takes it away. */
export async function withBucket<T>(act: (bucket: Bucket) => Promise<T>): Promise<T> {
  const lab = await Lab.up({ nodes: 0, s3: true });
  try {
    await lab.s3.createBucket("bench");
    const { accessKeyId, secretAccessKey } = await lab.s3.credentials();
    const { endpoint, region } = lab.s3;
    return await act({
      resticRepository: `s3:${endpoint}/bench/restic-$ROUND`,
      variables: () =>
        Promise.resolve({
          AWS_ACCESS_KEY_ID: accessKeyId,
          AWS_SECRET_ACCESS_KEY: secretAccessKey,
          AWS_DEFAULT_REGION: region,
          SKEP_BENCH_S3: JSON.stringify({ endpoint, region, bucket: "bench" }),
        }),
    });
  } finally {
    await lab.down();
  }
}
