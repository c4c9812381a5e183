# Written by `make templates` from config/cloudformation/demo.yaml, which has the comments. Change it there.

variable "name" {
  type        = string
  description = "The name of what this module makes, as a stack has one"
}

variable "network" {
  type = object({
    vpc                          = string
    subnets                      = list(string)
    cluster                      = string
    namespace                    = string
    dns_namespace                = string
    proxy_security_group         = string
    load_balancer_security_group = string
    control_plane_security_group = string
    database_security_group      = string
    exec_log_group_arn           = string
  })
  description = "The outputs of the module network"
}

variable "mesh" {
  type        = string
  description = "The mesh of both services"
  default     = "default"
}

variable "page_service" {
  type        = string
  description = "Service and workload of the page"
  default     = "demo-app"
}

variable "counter_service" {
  type        = string
  description = "Service and workload of the counter"
  default     = "kv"
}

variable "demo_image" {
  type        = string
  description = "The demo application, in a repository of yours, by digest"
  default     = "kumahq/kuma-counter-demo:VERSION"
}

variable "audience" {
  type        = string
  description = "Audience of module control-plane"
  default     = "mesh-production"
}

variable "control_plane_host" {
  type        = string
  description = "The name in the certificate of control plane and service"
  default     = "control-plane.mesh.internal"
}

variable "agent_image" {
  type        = string
  description = "The image of this repository, by digest"
  default     = "kuma-aws-iam:VERSION"
}

variable "kuma_dp_image" {
  type        = string
  description = "A stock kuma-dp, by digest"
  default     = "kumahq/kuma-dp:VERSION"
}

variable "kuma_version" {
  type        = string
  description = "The version of kuma-dp in kuma_dp_image"
  default     = "3.0-or-later"
  validation {
    condition     = contains(["3.0-or-later", "2.14", "2.13-or-earlier"], var.kuma_version)
    error_message = "kuma_version must be 3.0-or-later or 2.14 or 2.13-or-earlier."
  }
}

variable "certificate_authority_secret" {
  type        = string
  description = "ARN of a secret with the PEM of the authority of that certificate"
}

variable "caller_token_secret" {
  type        = string
  description = "ARN of the secret with the token with which callers authenticate to the service"
}

variable "page_callers" {
  type        = string
  description = "The addresses that may open the page, and those of the load balancer; the VPC's"
  default     = "10.60.0.0/16"
}
