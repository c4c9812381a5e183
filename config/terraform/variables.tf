variable "name" {
  type        = string
  description = "The beginning of the names of all resources"
  default     = "mesh"
}

variable "audience" {
  type        = string
  description = "The name of this control plane; no other one has it"
  default     = "mesh-production"
}

variable "authorized_accounts" {
  type        = list(string)
  description = "The accounts whose roles may be proxies"
}

variable "service_image" {
  type        = string
  description = "The image of this repository, by digest"
}

variable "kuma_cp_image" {
  type        = string
  description = "A stock kuma-cp of 2.7 or later, by digest"
}

variable "kuma_dp_image" {
  type        = string
  description = "A stock kuma-dp, by digest"
}

variable "kuma_version" {
  type        = string
  description = "The version of kuma-dp and kuma-cp: 3.0-or-later, 2.14, or 2.13-or-earlier"
  default     = "3.0-or-later"
}

variable "collector_image" {
  type        = string
  description = "The AWS Distro for OpenTelemetry Collector, by digest"
}

variable "demo_image" {
  type        = string
  description = "The demo application, by digest"
}

variable "secrets" {
  type = object({
    dataplane_key         = string
    zone_key              = optional(string) # before Kuma 3.0
    certificate           = string
    certificate_key       = string
    certificate_authority = string
    caller_token          = string
  })
  description = "ARNs of the secrets of Secrets Manager; Terraform never reads their values"
}
