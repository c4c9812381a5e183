package main

import "strings"

// Role is what IAM says of one role.
type Role struct {
	ARN  string `xml:"GetRoleResult>Role>Arn"`
	ID   string `xml:"GetRoleResult>Role>RoleId"`
	Name string `xml:"GetRoleResult>Role>RoleName"`
	Tags []struct {
		Key   string `xml:"Key"`
		Value string `xml:"Value"`
	} `xml:"GetRoleResult>Role>Tags>member"`
}

var tagKeys = map[string]bool{
	"kuma.io/type": true, "kuma.io/mesh": true, "kuma.io/service": true, "kuma.io/workload": true, "kuma.io/zone": true,
}

// valid holds a claim to the schema of the call.
func (c *Claim) valid() bool {
	if c.Type != "dataplane" && c.Type != "ingress" && c.Type != "egress" {
		return false
	}
	for key, values := range c.Tags {
		if len(key) > 317 {
			return false
		}
		for _, value := range values {
			if len(value) > 253 {
				return false
			}
		}
	}
	for key, value := range c.Labels {
		if len(key) > 317 || len(value) > 253 {
			return false
		}
	}
	return len(c.Mesh) <= 253 && len(c.Name) <= 253 && len(c.Zone) <= 253 && (c.Mesh != "" || c.Type != "dataplane")
}

// match reads the role's tags and holds the claim to them.
func match(role *Role, principal *Principal, claim *Claim) (*Identity, *Refusal) {
	granted, refusal := readTags(role, principal)
	if refusal != nil || claim == nil {
		return granted, refusal
	}
	if claim.Type != granted.Type {
		return nil, refuse(403, "proxy_type_mismatch", "the role is for another type")
	}
	if granted.Mesh != nil && claim.Mesh != *granted.Mesh {
		return nil, refuse(403, "proxy_mesh_mismatch", "the role is for another mesh")
	}
	if granted.Service != nil && !claim.isOnly(*granted.Service) {
		return nil, refuse(403, "proxy_service_mismatch", "the role is for another service")
	}
	if granted.Workload != nil && claim.Labels["kuma.io/workload"] != *granted.Workload {
		return nil, refuse(403, "proxy_workload_mismatch", "the role is for another workload")
	}
	if granted.Zone != nil && claim.Zone != "" && claim.Zone != *granted.Zone {
		return nil, refuse(403, "proxy_zone_mismatch", "the role is for another zone")
	}
	return granted, nil
}

// isOnly tells whether a proxy carries this service, and no other.
func (c *Claim) isOnly(service string) bool {
	label, labelled := c.Labels["kuma.io/service"]
	if labelled && label != service {
		return false
	}
	for _, value := range c.Tags["kuma.io/service"] {
		if value != service {
			return false
		}
	}
	return labelled || len(c.Tags["kuma.io/service"]) > 0
}

func readTags(role *Role, principal *Principal) (*Identity, *Refusal) {
	parts := strings.SplitN(role.ARN, ":", 6)
	if role.ID != principal.RoleID || role.Name != principal.Role || len(parts) != 6 || parts[1] != principal.Partition ||
		parts[2] != "iam" || parts[4] != principal.Account || !strings.HasPrefix(parts[5], "role/") ||
		!strings.HasSuffix(parts[5], "/"+principal.Role) {
		return nil, refuse(403, "role_id_mismatch", "not the caller's role")
	}
	tags := make(map[string]string, len(tagKeys))
	for _, tag := range role.Tags {
		if lower := strings.ToLower(tag.Key); tagKeys[lower] {
			if _, twice := tags[tag.Key]; twice || lower != tag.Key {
				return nil, refuse(403, "role_tag_invalid", "a key stands twice, or in another case")
			}
			tags[tag.Key] = tag.Value
		}
	}
	kind, ok := tags["kuma.io/type"]
	if !ok {
		return nil, refuse(403, "role_type_missing", "no kuma.io/type")
	}
	granted := &Identity{Type: kind}
	switch kind {
	case "dataplane":
		granted.Mesh, granted.Service, granted.Workload = pick(tags, "mesh"), pick(tags, "service"), pick(tags, "workload")
		if granted.Mesh == nil {
			return nil, refuse(403, "role_mesh_missing", "no kuma.io/mesh")
		}
	case "ingress", "egress":
		granted.Zone = pick(tags, "zone")
	default:
		return nil, refuse(403, "role_tag_invalid", "kuma.io/type")
	}
	for value, fits := range map[*string]func(byte) bool{
		granted.Mesh: isName, granted.Service: isService, granted.Workload: isToken, granted.Zone: isName,
	} {
		if value != nil && (*value == "" || len(*value) > 253 || !every(*value, fits)) {
			return nil, refuse(403, "role_tag_invalid", "a value breaks its grammar")
		}
	}
	return granted, nil
}

func pick(tags map[string]string, name string) *string {
	if value, ok := tags["kuma.io/"+name]; ok {
		return &value
	}
	return nil
}
