import { TestClusterError } from '../errors.ts';
import type { RealNode } from './real-node.ts';

/** Gives each pod of a node an address that only that node knows: enough for pods to start and to reach Services. */
const PLUGIN = `#!/bin/sh
set -e
case "$CNI_COMMAND" in
ADD)
  n=$(( $(cat /run/test-cni 2>/dev/null || echo 1) + 1 ))
  echo "$n" > /run/test-cni
  ip link add "pod$n" type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS"
  ip link set "pod$n" up
  ip route add "10.244.0.$n" dev "pod$n"
  echo 1 > "/proc/sys/net/ipv4/conf/pod$n/proxy_arp"
  nsenter --net="$CNI_NETNS" ip -batch - <<END
addr add 10.244.0.$n/32 dev $CNI_IFNAME
link set $CNI_IFNAME up
route add default dev $CNI_IFNAME
END
  echo "{\\"cniVersion\\":\\"1.0.0\\",\\"ips\\":[{\\"address\\":\\"10.244.0.$n/32\\"}]}"
  ;;
VERSION)
  echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'
  ;;
esac
`;

const CONFIGURATION = JSON.stringify({ cniVersion: '1.0.0', name: 'test', plugins: [{ type: 'test-cni' }] });

/** Installs a minimal CNI plugin and its configuration, so that a node becomes Ready without the product. */
export async function installTestCni(node: RealNode): Promise<void> {
  const files = { '/opt/cni/bin/test-cni': PLUGIN, '/etc/cni/net.d/99-test.conflist': CONFIGURATION };
  for (const [path, input] of Object.entries(files)) {
    const script = `mkdir -p "$(dirname ${path})" && cat > ${path}.new && chmod 755 ${path}.new && mv ${path}.new ${path}`;
    const { code, stderr } = await node.exec('sh', ['-c', script], { input });
    if (code !== 0) throw new TestClusterError(`${node.name}: ${path} could not be written: ${stderr.trim()}`);
  }
}
