package main

import "net/netip"

// allowed tells whether the security groups of `local` let the first packet of a flow pass, and if not, why.
//
// The rules of all groups apply together. The matching rule with the lowest priority number decides; at equal priorities Drop comes
// before Accept. Between two members of a group with open inner access (basic groups only) everything passes, whatever the rules.
func allowed(egress bool, local, remote *eni, t tuple) (bool, string) {
	for _, group := range local.groups {
		if group.InnerAccess && remote.hasGroup(group.ID) {
			return true, ""
		}
	}
	var best *ruleEntry
	for _, group := range local.groups {
		for i := range group.Rules {
			rule := &group.Rules[i]
			if rule.Egress != egress || !rule.matches(remote, t) {
				continue
			}
			if best == nil || rule.Priority < best.Priority || rule.Priority == best.Priority && rule.Drop {
				best = rule
			}
		}
	}
	if best != nil {
		if best.Drop {
			return false, "rule " + best.ID
		}
		return true, ""
	}
	if !egress {
		return false, "no rule accepts"
	}
	for _, group := range local.groups {
		if !group.Enterprise {
			return true, ""
		}
	}
	return false, "no rule accepts"
}

func (r *ruleEntry) matches(remote *eni, t tuple) bool {
	local, peer := t.dst, t.src
	if r.Egress {
		local, peer = t.src, t.dst
	}
	return protocolMatches(r.Protocol, t.proto) &&
		inRange(r.Ports, t.proto, t.dport) && inRange(r.SourcePorts, t.proto, t.sport) &&
		(len(r.LocalCidrs) == 0 || inAny(r.LocalCidrs, local)) &&
		(inAny(r.RemoteCidrs, peer) || r.RemoteGroup != "" && remote.hasGroup(r.RemoteGroup))
}

func protocolMatches(name string, proto uint8) bool {
	switch name {
	case "all":
		return true
	case "tcp":
		return proto == protoTCP
	case "udp":
		return proto == protoUDP
	case "icmp":
		return proto == protoICMP
	case "icmpv6":
		return proto == protoICMPv6
	case "gre":
		return proto == protoGRE
	}
	return false
}

// inRange applies to TCP and UDP only. Other protocols have no ports.
func inRange(ports *[2]uint16, proto uint8, port uint16) bool {
	return ports == nil || (proto == protoTCP || proto == protoUDP) && ports[0] <= port && port <= ports[1]
}

func inAny(cidrs []netip.Prefix, address netip.Addr) bool {
	for _, cidr := range cidrs {
		if cidr.Contains(address) {
			return true
		}
	}
	return false
}
