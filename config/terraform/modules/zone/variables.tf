# Written by `make templates` from config/cloudformation/zone.yaml, which has the comments. Change it there.

variable "name" {
  type        = string
  description = "The name of what this module makes, as a stack has one"
}

variable "proxy_type" {
  type        = string
  description = "ingress takes the traffic of other zones; egress sends traffic to other zones and to external services"
  validation {
    condition     = contains(["ingress", "egress"], var.proxy_type)
    error_message = "proxy_type must be ingress or egress."
  }
}

variable "zone" {
  type        = string
  description = "The zone; Zone of module control-plane"
  default     = "default"
  validation {
    condition     = can(regex("^([0-9a-z._-]{1,32})$", var.zone))
    error_message = "zone must match [0-9a-z._-]{1,32}."
  }
}

variable "mesh" {
  type        = string
  description = "From Kuma 3.0 on, the mesh of the zone proxy"
  default     = "default"
  validation {
    condition     = can(regex("^([0-9a-z._-]{1,18})$", var.mesh))
    error_message = "mesh must match [0-9a-z._-]{1,18}."
  }
}

variable "ingress_callers" {
  type        = string
  description = "With ingress, the addresses that may reach the load balancer's port 10001, those of the egresses of other zones"
  default     = "10.0.0.0/8"
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

variable "desired_count" {
  type        = number
  description = "Tasks, in different zones"
  default     = 2
}

variable "audience" {
  type        = string
  description = "KMESH_AWSIAM_AUDIENCE of the service beside the control plane"
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
  description = "A stock kuma-dp, by digest; set kuma_version to the version of this image"
  default     = "kumahq/kuma-dp:VERSION"
}

variable "kuma_version" {
  type        = string
  description = "The version of kuma-dp in kuma_dp_image, and of the control plane. It decides the form of the resource and of the role's tags, and the port of the proxy's health check. From 2.14 on Envoy's admin interface is a Unix socket, and port 9902 says whether the proxy is ready; up to 2.13 port 9901 does. With a wrong value ECS replaces the tasks again and again, or, on 2.12, keeps a proxy that the control plane refused"
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
  description = "ARN of the secret with the token with which all agents authenticate to the service"
}

variable "cpu" {
  type        = string
  description = "CPU units of the task"
  default     = "512"
  validation {
    condition     = contains(["256", "512", "1024", "2048"], var.cpu)
    error_message = "cpu must be 256 or 512 or 1024 or 2048."
  }
}

variable "memory" {
  type        = string
  description = "Memory of the task, in MiB"
  default     = "1024"
  validation {
    condition     = contains(["1024", "2048", "4096"], var.memory)
    error_message = "memory must be 1024 or 2048 or 4096."
  }
}

variable "role_path" {
  type        = string
  description = "The path of the role; role_path of module control-plane"
  default     = "/mesh/"
  validation {
    condition     = can(regex("^(/([A-Za-z0-9_.-]+/)+)$", var.role_path))
    error_message = "role_path must match /([A-Za-z0-9_.-]+/)+."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "With ingress, refuse to delete the load balancer"
  default     = true
}

variable "ecs_exec" {
  type        = bool
  description = "Allow ECS Exec. Whoever may use it on this task has the identity of the zone proxy"
  default     = false
}

variable "alarm_topic" {
  type        = string
  description = "ARN of an SNS topic for the alarms (output alarm_topic of module monitoring)"
  default     = null
}

variable "log_retention" {
  type        = number
  description = "Days that the log is kept"
  default     = 30
}

variable "kms_key" {
  type        = string
  description = "ARN of a KMS key of log and secrets, whose policy lets CloudWatch Logs and this account use it"
  default     = null
}
