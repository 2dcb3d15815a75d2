// ContainerSpec. Source: moby daemon/cluster/convert/container.go, api/types/swarm/container.go, api/types/mount.
import { enumName, type Message } from "../swarmkit/message-types.ts";
import { base64, driver, filled, integer, nanoseconds, omitEmpty, type Json } from "./values.ts";

export function containerSpec(of: Message<"ContainerSpec">): Json {
  // Absent, true and false are three things for Init.
  return { ...containerFields(of), ...(of.init === undefined ? {} : { Init: of.init.value }) };
}

function containerFields(of: Message<"ContainerSpec">): Json {
  return omitEmpty({
    Image: of.image,
    Labels: filled(of.labels),
    Command: of.command,
    Args: of.args,
    Hostname: of.hostname,
    Env: of.env,
    Dir: of.dir,
    User: of.user,
    Groups: of.groups,
    Privileges: of.privileges === undefined ? undefined : privileges(of.privileges),
    StopSignal: of.stopSignal,
    TTY: of.tty,
    OpenStdin: of.openStdin,
    ReadOnly: of.readOnly,
    Mounts: of.mounts.map(mount),
    StopGracePeriod: nanoseconds(of.stopGracePeriod),
    Healthcheck: of.healthcheck === undefined ? undefined : healthcheck(of.healthcheck),
    Hosts: of.hosts,
    DNSConfig:
      of.dnsConfig === undefined
        ? undefined
        : omitEmpty({
            Nameservers: of.dnsConfig.nameservers,
            Search: of.dnsConfig.search,
            Options: of.dnsConfig.options,
          }),
    Secrets: of.secrets.map(secretReference),
    Configs: of.configs.map(configReference),
    Isolation: enumName("ContainerSpec.Isolation", of.isolation).replace("isolation_", ""),
    Sysctls: filled(of.sysctls),
    CapabilityAdd: of.capabilityAdd,
    CapabilityDrop: of.capabilityDrop,
    Ulimits: of.ulimits.map(({ name, soft, hard }) => ({ Name: name, Hard: integer(hard), Soft: integer(soft) })),
    OomScoreAdj: integer(of.oomScoreAdj),
  });
}

function mount(of: Message<"Mount">): Json {
  const { bindOptions: bind, volumeOptions: volume, tmpfsOptions: tmpfs } = of;
  return omitEmpty({
    Type: enumName("Mount.Type", of.type),
    Source: of.source,
    Target: of.target,
    ReadOnly: of.readonly,
    // The engine's own answer leaves it out, although a service may be created with it.
    Consistency: of.consistency === 0 ? undefined : enumName("Mount.Consistency", of.consistency),
    BindOptions:
      bind === undefined
        ? undefined
        : omitEmpty({
            Propagation: enumName("Mount.BindOptions.Propagation", bind.propagation),
            NonRecursive: bind.nonrecursive,
            CreateMountpoint: bind.createmountpoint,
            ReadOnlyNonRecursive: bind.readonlynonrecursive,
            ReadOnlyForceRecursive: bind.readonlyforcerecursive,
          }),
    VolumeOptions:
      volume === undefined
        ? undefined
        : omitEmpty({
            NoCopy: volume.nocopy,
            Labels: filled(volume.labels),
            Subpath: volume.subpath,
            DriverConfig: driver(volume.driverConfig),
          }),
    TmpfsOptions:
      tmpfs === undefined
        ? undefined
        : omitEmpty({ SizeBytes: integer(tmpfs.sizeBytes), Mode: tmpfs.mode, Options: tmpfsOptions(tmpfs.options) }),
  });
}

/** A list of lists, which swarmkit keeps as JSON text. Text that is not that is shown as it is. */
function tmpfsOptions(text: string): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}

function healthcheck(of: Message<"HealthConfig">): Json {
  return omitEmpty({
    Test: of.test,
    Interval: nanoseconds(of.interval),
    Timeout: nanoseconds(of.timeout),
    StartPeriod: nanoseconds(of.startPeriod),
    StartInterval: nanoseconds(of.startInterval),
    Retries: of.retries,
  });
}

function fileTarget(of: Message<"FileTarget">): Json {
  return { Name: of.name, UID: of.uid, GID: of.gid, Mode: of.mode };
}

function secretReference(of: Message<"SecretReference">): Json {
  const File = of.target.case === "file" ? fileTarget(of.target.value) : null;
  return { File, SecretID: of.secretId, SecretName: of.secretName };
}

function configReference(of: Message<"ConfigReference">): Json {
  const target =
    of.target.case === "file"
      ? { File: fileTarget(of.target.value) }
      : of.target.case === "runtime"
        ? { Runtime: {} }
        : {};
  return { ...target, ConfigID: of.configId, ConfigName: of.configName };
}

function privileges(of: Message<"Privileges">): Json {
  const { credentialSpec, selinuxContext, seccomp, apparmor } = of;
  return {
    CredentialSpec: credentialSpec === undefined ? null : credentialSource(credentialSpec),
    SELinuxContext:
      selinuxContext === undefined
        ? null
        : {
            Disable: selinuxContext.disable,
            User: selinuxContext.user,
            Role: selinuxContext.role,
            Type: selinuxContext.type,
            Level: selinuxContext.level,
          },
    ...omitEmpty({
      Seccomp:
        seccomp === undefined
          ? undefined
          : omitEmpty({
              Mode: enumName("Privileges.SeccompOpts.SeccompMode", seccomp.mode),
              Profile: base64(seccomp.profile),
            }),
      AppArmor:
        apparmor === undefined
          ? undefined
          : omitEmpty({ Mode: enumName("Privileges.AppArmorOpts.AppArmorMode", apparmor.mode) }),
      NoNewPrivileges: of.noNewPrivileges,
    }),
  };
}

function credentialSource({ source }: Message<"Privileges.CredentialSpec">): Json {
  return {
    Config: source.case === "config" ? source.value : "",
    File: source.case === "file" ? source.value : "",
    Registry: source.case === "registry" ? source.value : "",
  };
}
