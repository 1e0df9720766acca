/*
 * Tags of a trunk ENI and marks of pods (docs/design/node.md, "The tag").
 *
 * A verdict other than drop is TC_ACT_UNSPEC: the filters with a lower precedence, such as Cilium's at 25000, go on.
 * The loader (src/datapath/bpf) relocates references to the symbols of section `maps` and nothing else: no global data,
 * no calls between functions.
 */
#include "helpers.h"
#include "maps.h"

/* The types by which hosts find neighbours; the others are for routers, and no pod is a router. */
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136

INLINE int is_neighbour_discovery(struct __sk_buff *skb, __u32 offset, __u8 next_header)
{
	__u8 type;

	return next_header == IPPROTO_ICMPV6 && load_bytes(skb, offset + sizeof(struct ipv6hdr), &type, 1) == 0 &&
	       (type == NEIGHBOUR_SOLICITATION || type == NEIGHBOUR_ADVERTISEMENT);
}

enum source { OWN, LINK_LOCAL_NEIGHBOUR, LINK_LOCAL_OTHER, FOREIGN };

/* Classifies the packet's source; its IP header begins at `offset`, and the pod has these addresses. */
INLINE enum source source_of(struct __sk_buff *skb, __u32 protocol, __u32 offset, __u32 flags, __u32 ip4, const __u8 *ip6)
{
	struct ipv6hdr header;
	const __u32 *source = (const __u32 *)&header.saddr;
	__u32 source4;

	if (protocol == NETWORK16(ETH_P_IP)) {
		if (load_bytes(skb, offset + offsetof(struct iphdr, saddr), &source4, 4) != 0)
			return FOREIGN;
		return (flags & HAS_IPV4) && source4 == ip4 ? OWN : FOREIGN;
	}
	if (protocol != NETWORK16(ETH_P_IPV6) || load_bytes(skb, offset, &header, sizeof(header)) != 0)
		return FOREIGN;
	if ((flags & HAS_IPV6) && same_ip6(source, ip6))
		return OWN;
	/* From fe80::/10 or ::. Not spoofed, but valid only on the link. */
	if ((source[0] & 0xc0ff) == 0x80fe || !(source[0] | source[1] | source[2] | source[3]))
		return is_neighbour_discovery(skb, offset, header.nexthdr) ? LINK_LOCAL_NEIGHBOUR : LINK_LOCAL_OTHER;
	return FOREIGN;
}

/*
 * A tag that we did not write comes from an 802.1Q device in a pod. The kernel puts that device's id beside the packet's bytes. A pod
 * that turns `reorder_hdr` off can write any id into the bytes, so ids there are not trusted. The source must be an address of
 * the device.
 */
INLINE int check_foreign_tag(struct __sk_buff *skb, __u32 link, __u32 protocol, int after_own)
{
	struct vlan_key key = { 0, skb->vlan_tci & 0xfff };
	const struct vlan *vlan;
	const struct tag *tag;

	if (!skb->vlan_present || skb->vlan_proto != NETWORK16(ETH_P_8021Q))
		return drop(WRONG_VLAN);
	if (is_tag(protocol))
		return drop(DOUBLE_TAG);
	key.trunk = link;
	if (after_own) {
		tag = tag_of(skb, protocol, offsetof(struct iphdr, saddr), offsetof(struct ipv6hdr, saddr));
		if (tag && tag->trunk == link && tag->vlan_id == key.vlan_id)
			return TC_ACT_UNSPEC;
	}
	vlan = map_lookup(&vlans, &key);
	if (!vlan)
		return drop(WRONG_VLAN);
	if (protocol == NETWORK16(ETH_P_ARP))
		return pass();
	switch (source_of(skb, protocol, ETH_HLEN, vlan->flags, vlan->ip4, vlan->ip6)) {
	case OWN:
	case LINK_LOCAL_NEIGHBOUR:
		return pass();
	case LINK_LOCAL_OTHER:
		return TC_ACT_SHOT;
	default:
		return drop(SPOOFED_SOURCE);
	}
}

/*
 * Handles a pod's packet whose source this node has replaced, as kube-proxy and others do for replies to an address of the node and
 * for what they masquerade. It does not belong on this ENI; it leaves as the node's own packets do, possibly to a pod of this node.
 */
INLINE int send_as_node(struct __sk_buff *skb, const struct veth *veth, __u32 protocol, __u32 link)
{
	struct bpf_fib_lookup route = { 0 };
	struct ipv6hdr header6;
	struct iphdr header4;
	__u32 others = ~veth->mark_mask;
	__u32 mark;
	long result;

	/* The look-up ignores marks, so it finds the route of unmarked packets. */
	route.ifindex = skb->ingress_ifindex;
	if (protocol == NETWORK16(ETH_P_IP)) {
		if (load_bytes(skb, ETH_HLEN, &header4, sizeof(header4)) != 0)
			return drop(NO_ENTRY);
		route.family = 2;
		route.tos = header4.tos;
		route.l4_protocol = header4.protocol;
		route.ipv4_src = header4.saddr;
		route.ipv4_dst = header4.daddr;
	} else if (protocol == NETWORK16(ETH_P_IPV6)) {
		if (load_bytes(skb, ETH_HLEN, &header6, sizeof(header6)) != 0)
			return drop(NO_ENTRY);
		route.family = 10;
		route.l4_protocol = header6.nexthdr;
		__builtin_memcpy(route.ipv6_src, &header6.saddr, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, &header6.daddr, sizeof(route.ipv6_dst));
	} else {
		return drop(NO_ENTRY);
	}
	result = fib_lookup(skb, &route, sizeof(route), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(NO_ENTRY);
	mark = skb->mark & others;
	FIXED(mark);
	skb->mark = mark;
	/* This link is the node's own way out. */
	if (route.ifindex == link)
		return pass();
	count(PASSED);
	return redirect_neigh(route.ifindex, NULL, 0, 0);
}

/* `after_own`: the packet may already have its tag from `trunk_egress`, which ran before. */
INLINE int leave_trunk(struct __sk_buff *skb, int after_own)
{
	struct tag *tag;
	struct settings *settings_of_node;
	const struct veth *veth;
	__u32 priority;
	__u32 protocol;
	__u16 type;
	__u32 link = skb->ifindex;
	__u32 from = skb->ingress_ifindex;
	__u32 zero = 0;

	FIXED(link);
	FIXED(from);
	/* The sender sets the packet's protocol and may lie, for example a pod with a packet socket. */
	if (load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)) != 0)
		return drop(NO_ENTRY);
	protocol = type;
	if (skb->vlan_present || is_tag(protocol))
		return check_foreign_tag(skb, link, protocol, after_own);
	tag = tag_of(skb, protocol, offsetof(struct iphdr, saddr), offsetof(struct ipv6hdr, saddr));
	if (tag) {
		if (tag->trunk != link || vlan_push(skb, NETWORK16(ETH_P_8021Q), tag->vlan_id) != 0)
			return drop(NO_ENTRY);
		/* Not at the pod's veth: forwarding would overwrite it with a value from the type of service. */
		priority = tag->priority;
		if (priority) {
			priority -= 1;
			FIXED(priority);
			skb->priority = priority;
		}
		count(TAGGED);
		return TC_ACT_UNSPEC;
	}
	veth = from ? map_lookup(&veths, &from) : NULL;
	if (veth && source_of(skb, protocol, ETH_HLEN, veth->flags, veth->ip4, veth->ip6) == FOREIGN)
		return send_as_node(skb, veth, protocol, link);
	settings_of_node = map_lookup(&settings, &zero);
	if (settings_of_node && !(skb->mark & settings_of_node->member_bit))
		return pass();
	return drop(NO_ENTRY);
}

/*
 * Egress of an ENI that pods use: tags packets by their source address, and never lets a packet of a member's pod out untagged.
 */
SECTION("tc/trunk_egress") int trunk_egress(struct __sk_buff *skb)
{
	return leave_trunk(skb, 0);
}

/*
 * The filter while the TCX program that replaces it is being attached: packets pass only this one, then both. It is removed right
 * afterwards, because it trusts a pod's 802.1Q device that has the tag of a member.
 */
SECTION("tc/trunk_handover") int trunk_handover(struct __sk_buff *skb)
{
	return leave_trunk(skb, 1);
}

/* Ingress: the tag must be the destination's, and the only one. */
SECTION("tc/trunk_ingress") int trunk_ingress(struct __sk_buff *skb)
{
	/* By now the kernel has taken the outer tag out of the bytes, if the device did not; id 0 is no VLAN. */
	__u16 vlan_id = skb->vlan_present ? skb->vlan_tci & 0xfff : 0;
	__u32 protocol = skb->protocol;
	__u32 link = skb->ifindex;
	struct vlan_key key = { 0, vlan_id };
	struct tag *tag;

	FIXED(protocol);
	FIXED(link);
	key.trunk = link;
	if (vlan_id && map_lookup(&vlans, &key))
		return pass();
	if (is_tag(protocol))
		return drop(DOUBLE_TAG);
	tag = tag_of(skb, protocol, offsetof(struct iphdr, daddr), offsetof(struct ipv6hdr, daddr));
	if (!vlan_id) {
		if (tag && tag->trunk == link)
			return drop(MISSING_TAG);
		return pass();
	}
	if (!tag || tag->trunk != link)
		return drop(NO_ENTRY);
	if (tag->vlan_id != vlan_id || skb->vlan_proto != NETWORK16(ETH_P_8021Q))
		return drop(WRONG_VLAN);
	if (vlan_pop(skb) != 0)
		return drop(WRONG_VLAN);
	count(UNTAGGED);
	return TC_ACT_UNSPEC;
}

INLINE int mark(struct __sk_buff *skb, const struct veth *veth)
{
	__u32 value = (skb->mark & ~veth->mark_mask) | veth->mark;

	FIXED(value);
	skb->mark = value;
	return TC_ACT_UNSPEC;
}

/* On the host's end of a pod's veth: sets the pod's mark and drops packets with a source that is not the pod's. */
SECTION("tc/veth_ingress") int veth_ingress(struct __sk_buff *skb)
{
	__u32 protocol = skb->protocol;
	__u32 key = skb->ifindex;
	const struct veth *veth = map_lookup(&veths, &key);

	FIXED(protocol);
	if (!veth)
		return drop(NO_ENTRY);
	if (protocol == NETWORK16(ETH_P_ARP))
		return TC_ACT_UNSPEC;
	switch (source_of(skb, protocol, ETH_HLEN, veth->flags, veth->ip4, veth->ip6)) {
	case OWN:
		return mark(skb, veth);
	case LINK_LOCAL_NEIGHBOUR:
		return TC_ACT_UNSPEC;
	case LINK_LOCAL_OTHER:
		return TC_ACT_SHOT;
	default:
		return drop(SPOOFED_SOURCE);
	}
}

/*
 * A pod with a whole ENI answers connections that came through its node, such as those to a node port, through the node: sent by its
 * ENI, the answer would have a source that the client does not know.
 */

/* The connection of a TCP or UDP packet; 0 for anything else, and for later fragments, which have no ports. */
INLINE int flow_of(struct __sk_buff *skb, struct flow *flow, int is_outgoing)
{
	__u32 protocol = skb->protocol;
	__u8 *source = is_outgoing ? flow->pod : flow->peer;
	__u8 *destination = is_outgoing ? flow->peer : flow->pod;
	__u32 offset = ETH_HLEN;
	struct ipv6hdr header6;
	struct iphdr header4;
	__u16 ports[2];

	FIXED(protocol);
	__builtin_memset(flow, 0, sizeof(*flow));
	if (protocol == NETWORK16(ETH_P_IP)) {
		if (load_bytes(skb, offset, &header4, sizeof(header4)) != 0 || (header4.frag_off & NETWORK16(0x1fff)) != 0)
			return 0;
		flow->protocol = header4.protocol;
		__builtin_memcpy(source, &header4.saddr, 4);
		__builtin_memcpy(destination, &header4.daddr, 4);
		offset += header4.ihl * 4;
	} else if (protocol == NETWORK16(ETH_P_IPV6)) {
		if (load_bytes(skb, offset, &header6, sizeof(header6)) != 0)
			return 0;
		flow->protocol = header6.nexthdr;
		__builtin_memcpy(source, &header6.saddr, 16);
		__builtin_memcpy(destination, &header6.daddr, 16);
		offset += sizeof(header6);
	} else {
		return 0;
	}
	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return 0;
	if (load_bytes(skb, offset, ports, sizeof(ports)) != 0)
		return 0;
	flow->pod_port = is_outgoing ? ports[0] : ports[1];
	flow->peer_port = is_outgoing ? ports[1] : ports[0];
	return 1;
}

/* In the pod, for packets from the node: notes that the connection is answered through the node. */
SECTION("tc/peer_ingress") int peer_ingress(struct __sk_buff *skb)
{
	__u32 link = skb->ifindex;
	struct flow flow;
	__u32 *known;

	if (flow_of(skb, &flow, 0)) {
		known = map_lookup(&flows, &flow);
		if (!known || *known != link)
			map_update(&flows, &flow, &link, 0);
	}
	return TC_ACT_UNSPEC;
}

/* In the pod, for packets from its ENI: forgets a noted connection with the same ports, as this is a new one. */
SECTION("tc/eni_ingress") int eni_ingress(struct __sk_buff *skb)
{
	struct flow flow;

	if (flow_of(skb, &flow, 0) && map_lookup(&flows, &flow))
		map_delete(&flows, &flow);
	return TC_ACT_UNSPEC;
}

/* In the pod, egress of its ENI: redirects answers of noted connections to the node. */
SECTION("tc/eni_egress") int eni_egress(struct __sk_buff *skb)
{
	struct bpf_redir_neigh next_hop = { 0 };
	struct flow flow;
	__u32 *link;

	if (!flow_of(skb, &flow, 1))
		return TC_ACT_UNSPEC;
	link = map_lookup(&flows, &flow);
	if (!link)
		return TC_ACT_UNSPEC;
	if (skb->protocol == NETWORK16(ETH_P_IP)) {
		/* 169.254.1.1 */
		next_hop.nh_family = 2;
		next_hop.ipv4_nh = 0x0101fea9;
	} else {
		/* fe80::1 */
		next_hop.nh_family = 10;
		next_hop.ipv6_nh[0] = 0x80fe;
		next_hop.ipv6_nh[3] = 0x01000000;
	}
	return redirect_neigh(*link, &next_hop, sizeof(next_hop), 0);
}

char program_license[] SECTION("license") = "GPL";
