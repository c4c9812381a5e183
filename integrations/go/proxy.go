package kumaawsiam

// ProxyType is the kind of a proxy: that of its resource in a [Proxy], that of its role in an [Identity].
type ProxyType string

// The types that the service knows. A zone proxy in a Dataplane (Kuma 2.14 and later) has the type TypeDataplane in a
// [Proxy], and its role's type in an [Identity].
const (
	TypeDataplane ProxyType = "dataplane"
	TypeIngress   ProxyType = "ingress"
	TypeEgress    ProxyType = "egress"
)

// Proxy is what a control plane knows about a proxy from its Dataplane, ZoneIngress or ZoneEgress resource. Take every
// value from the resource, and nothing from what else the proxy says on its stream.
type Proxy struct {
	// Type is required, and follows the kind of the resource.
	Type ProxyType `json:"type"`

	// Mesh is required for a Dataplane, and ignored for others.
	Mesh string `json:"mesh,omitempty"`

	// Name is the resource's name, for the audit line.
	Name string `json:"name,omitempty"`

	// Zone is the zone of the control plane itself, for an ingress and an egress. Do not send the zone that the proxy
	// asserts: the service would compare the proxy with its own assertion.
	Zone string `json:"zone,omitempty"`

	// Tags has all values of each tag in all inbounds and in networking.gateway.tags.
	Tags map[string][]string `json:"tags,omitempty"`

	// Labels has the metadata labels of the resource. They are required from Kuma 2.13 on, because the label
	// kuma.io/workload can be part of the proxy's SPIFFE id.
	Labels map[string]string `json:"labels,omitempty"`

	// Listeners has the types in networking.listeners of a Dataplane: "ZoneIngress", "ZoneEgress". They are required
	// from Kuma 2.14 on, because such a Dataplane is a zone proxy.
	Listeners []string `json:"listeners,omitempty"`
}

type call struct {
	Credential string `json:"credential"`
	Proxy      *Proxy `json:"proxy,omitempty"`
}
