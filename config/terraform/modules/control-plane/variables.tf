# Written by `make templates` from config/cloudformation/control-plane.yaml, which has the comments. Change it there.

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

variable "audience" {
  type        = string
  description = "The name of this control plane; no other one has it, and each agent signs for it"
  default     = "mesh-production"
}

variable "authorized_accounts" {
  type        = list(string)
  description = "The accounts whose roles may be proxies, those of reader_roles included"
}

variable "reader_roles" {
  type        = list(string)
  description = "ARNs of the reader roles of the other accounts (output reader_role_arn of module reader-account), all with the same name"
  default     = []
}

variable "reader_role_name" {
  type        = string
  description = "The name of these roles"
  default     = "kuma-reader"
}

variable "reader_external_id" {
  type        = string
  description = "The external id that the reader roles ask for"
  default     = null
}

variable "service_role_name" {
  type        = string
  description = "The name of the task's role, which the reader roles trust"
  default     = "kuma-aws-iam"
}

variable "role_path" {
  type        = string
  description = "The only path under which the service reads roles and accepts them"
  default     = "/mesh/"
  validation {
    condition     = can(regex("^(/([A-Za-z0-9_.-]+/)+)$", var.role_path))
    error_message = "role_path must match /([A-Za-z0-9_.-]+/)+."
  }
}

variable "service_image" {
  type        = string
  description = "The image of this repository, by digest"
  default     = "kuma-aws-iam:VERSION"
}

variable "kuma_cp_image" {
  type        = string
  description = "A stock kuma-cp of 2.7 or later, by digest; set kuma_version to the version of this image"
  default     = "kumahq/kuma-cp:VERSION"
}

variable "kuma_version" {
  type        = string
  description = "The version of kuma-cp, which decides what the service requires of roles: from 3.0 on kuma.io/workload, before kuma.io/service"
  default     = "3.0-or-later"
  validation {
    condition     = contains(["3.0-or-later", "2.14-or-earlier"], var.kuma_version)
    error_message = "kuma_version must be 3.0-or-later or 2.14-or-earlier."
  }
}

variable "zone" {
  type        = string
  description = "The zone of the control plane, and the only one for which the service gives tokens"
  default     = "default"
}

variable "global_address" {
  type        = string
  description = "The global control plane of a mesh of several zones, as grpcs://HOST:5685"
  default     = null
}

variable "global_authority_parameter" {
  type        = string
  description = "With global_address, name of an SSM parameter with the PEM of the authority of its certificate"
  default     = "/mesh/global-ca"
  validation {
    condition     = can(regex("^(/.+)$", var.global_authority_parameter))
    error_message = "global_authority_parameter must match /.+."
  }
}

variable "desired_count" {
  type        = number
  description = "Tasks, in different zones"
  default     = 2
}

variable "database_host" {
  type        = string
  description = "PostgreSQL, where the control plane keeps its resources (output Host of module database)"
}

variable "database_password_secret" {
  type        = string
  description = "ARN of a secret with the password of user kuma (output password_secret of module database)"
}

variable "database_authority_parameter" {
  type        = string
  description = "Name of an SSM parameter with the bundle of RDS's authorities in this region, in PEM"
  default     = "/mesh/database-ca"
  validation {
    condition     = can(regex("^(/.+)$", var.database_authority_parameter))
    error_message = "database_authority_parameter must match /.+."
  }
}

variable "configuration_parameter" {
  type        = string
  description = "Name of an SSM parameter with what keys generate printed, both kinds under one dpServer. It contains public keys only"
  default     = "/mesh/kuma-cp"
  validation {
    condition     = can(regex("^(/.+)$", var.configuration_parameter))
    error_message = "configuration_parameter must match /.+."
  }
}

variable "dataplane_key_secret" {
  type        = string
  description = "ARN of a secret with the private key of data plane tokens, in PEM"
}

variable "dataplane_key_id" {
  type        = string
  description = "The kid of dataplane_key_secret"
}

variable "zone_key_secret" {
  type        = string
  description = "ARN of a secret with the private key of zone tokens, in PEM. Only a control plane before 3.0 with ZoneIngress or ZoneEgress resources needs it"
  default     = null
}

variable "zone_key_id" {
  type        = string
  description = "The kid of zone_key_secret"
  default     = null
}

variable "certificate_secret" {
  type        = string
  description = "ARN of a secret with the certificate of control plane and service, in PEM, and those that lead to its authority"
}

variable "certificate_key_secret" {
  type        = string
  description = "ARN of a secret with the private key of certificate_secret"
}

variable "caller_token_secret" {
  type        = string
  description = "ARN of a secret with 32 or more characters, with which the agents authenticate to the service"
}

variable "localhost_is_admin" {
  type        = bool
  description = "Let calls from the task itself administer the control plane without a token. \"true\" is for the first admin token only (docs/how-to/deploy-on-ecs.md)"
  default     = false
}

variable "ecs_exec" {
  type        = bool
  description = "Allow ECS Exec. Whoever may use it on this task can read the signing keys"
  default     = false
}

variable "metrics_url" {
  type        = string
  description = "Where a collector sends the metrics (output remote_write_url of module monitoring). If it is empty, there is no collector"
  default     = null
}

variable "metrics_workspace" {
  type        = string
  description = "With metrics_url, id of the workspace (output Workspace of module monitoring)"
  default     = null
}

variable "collector_image" {
  type        = string
  description = "The AWS Distro for OpenTelemetry Collector, 0.40 or later, by digest"
  default     = "aws-observability/aws-otel-collector:VERSION"
}

variable "alarm_topic" {
  type        = string
  description = "ARN of an SNS topic for the alarms (output alarm_topic of module monitoring)"
  default     = null
}

variable "log_retention" {
  type        = number
  description = "Days that the log is kept"
  default     = 90
}

variable "audit_log_retention" {
  type        = number
  description = "Days that the service's log is kept, which has the audit lines"
  default     = 365
}

variable "kms_key" {
  type        = string
  description = "ARN of a KMS key of logs, secrets and parameters, whose policy lets CloudWatch Logs and this account use it"
  default     = null
}

variable "deletion_protection" {
  type        = bool
  description = "Refuse to delete the load balancer, without which no proxy finds the control plane"
  default     = true
}
