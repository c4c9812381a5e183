# Written by `make templates` from config/cloudformation/network.yaml, which has the comments. Change it there.

variable "name" {
  type        = string
  description = "The name of what this module makes, as a stack has one"
}

variable "cidr" {
  type        = string
  description = "The addresses of the new VPC, a /16 to /22; unused with existing_vpc"
  default     = "10.60.0.0/16"
}

variable "existing_vpc" {
  type        = string
  description = "Id of a VPC that you have. Then this module makes no VPC, no subnet, no NAT gateway and no endpoint"
  default     = null
}

variable "existing_subnets" {
  type        = list(string)
  description = "With existing_vpc, two or more of its private subnets, in different zones, with a route to the AWS APIs"
  default     = []
}

variable "nat_gateways" {
  type        = string
  description = "The way to the AWS APIs. IAM has a VPC endpoint in one region only, so outside of it the service needs a NAT gateway, or a proxy of yours. With one, the failure of its zone cuts off the other zone too"
  default     = "one"
  validation {
    condition     = contains(["none", "one", "one-per-zone"], var.nat_gateways)
    error_message = "nat_gateways must be none or one or one-per-zone."
  }
}

variable "endpoints" {
  type        = bool
  description = "Make VPC endpoints for STS, ECR, S3, CloudWatch Logs, Secrets Manager, SSM and ECS Exec. Each costs by the hour and zone"
  default     = false
}

variable "dns_namespace" {
  type        = string
  description = "The private DNS zone. The certificate of the control plane names control-plane.NAMESPACE"
  default     = "mesh.internal"
}

variable "container_insights" {
  type        = string
  description = "Metrics of the cluster's tasks. The alarm on running tasks needs them"
  default     = "enabled"
  validation {
    condition     = contains(["enabled", "enhanced", "disabled"], var.container_insights)
    error_message = "container_insights must be enabled or enhanced or disabled."
  }
}

variable "log_retention" {
  type        = number
  description = "Days that the flow log and the log of ECS Exec are kept"
  default     = 90
}

variable "kms_key" {
  type        = string
  description = "ARN of a KMS key for these logs, whose policy lets CloudWatch Logs use it. Without it, AWS's own key"
  default     = null
}
