# Written by `make templates` from config/cloudformation/dataplane.yaml, which has the comments. Change it there.

variable "name" {
  type        = string
  description = "The name of what this module makes, as a stack has one"
}

variable "launch_type" {
  type        = string
  description = "On EC2 too, each task has a network of its own"
  default     = "FARGATE"
  validation {
    condition     = contains(["FARGATE", "EC2"], var.launch_type)
    error_message = "launch_type must be FARGATE or EC2."
  }
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

variable "mesh" {
  type        = string
  description = "The proxy's mesh. The role's name contains mesh and service, and has at most 64 characters"
  default     = "default"
  validation {
    condition     = can(regex("^([0-9a-z._-]{1,18})$", var.mesh))
    error_message = "mesh must match [0-9a-z._-]{1,18}."
  }
}

variable "service" {
  type        = string
  description = "The name of role and service; before Kuma 3.0 also the proxy's kuma.io/service"
  validation {
    condition     = can(regex("^([A-Za-z0-9-]{1,40})$", var.service))
    error_message = "service must match [A-Za-z0-9-]{1,40}."
  }
}

variable "workload_label" {
  type        = string
  description = "The proxy's kuma.io/workload, normally the same name as Service. From Kuma 3.0 on the mesh's service has this name, and its SPIFFE id contains it. Kuma accepts only a DNS label (RFC 1035) here"
  validation {
    condition     = can(regex("^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)$", var.workload_label))
    error_message = "workload_label must match [a-z]([a-z0-9-]{0,61}[a-z0-9])?."
  }
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

variable "outbounds" {
  type        = string
  description = "The services that the workload calls, as JSON, for example [{\"port\":5051,\"backendRef\":{\"kind\":\"MeshService\",\"name\":\"kv\",\"port\":8080}}], where 8080 is the proxy_port of the other service. Before Kuma 3.0, [{\"port\":5051,\"tags\":{\"kuma.io/service\":\"kv\"}}]. ECS has no transparent proxy, so the workload calls 127.0.0.1 at this port"
  default     = "[]"
  validation {
    condition     = can(regex("^(\\[[A-Za-z0-9{}:,\". /_-]*\\])$", var.outbounds))
    error_message = "outbounds must match \\[[A-Za-z0-9{}:,\". /_-]*\\]."
  }
}

variable "workload_image" {
  type        = string
  description = "The image of the workload, by digest"
}

variable "workload_port" {
  type        = number
  description = "Where the workload listens. Let it listen on 127.0.0.1, so that nobody reaches it without mTLS"
  default     = 5000
}

variable "workload_protocol" {
  type        = string
  description = "What the workload speaks (before Kuma 3.0 the tag kuma.io/protocol)"
  default     = "http"
  validation {
    condition     = contains(["http", "http2", "grpc", "tcp"], var.workload_protocol)
    error_message = "workload_protocol must be http or http2 or grpc or tcp."
  }
}

variable "workload_variable" {
  type        = string
  description = "The name of one environment variable of the workload. Do not put a secret into it"
  default     = "WORKLOAD_NAME"
  validation {
    condition     = can(regex("^([A-Za-z_][A-Za-z0-9_]*)$", var.workload_variable))
    error_message = "workload_variable must match [A-Za-z_][A-Za-z0-9_]*."
  }
}

variable "workload_value" {
  type        = string
  description = "The value of workload_variable"
  default     = ""
}

variable "workload_target_group" {
  type        = string
  description = "ARN of a target group of a load balancer of yours, for callers outside the mesh. It reaches workload_port without mTLS, so the workload must listen on the task's address"
  default     = null
}

variable "workload_callers" {
  type        = string
  description = "With workload_target_group, the addresses that may reach workload_port, those of the load balancer"
  default     = "10.60.0.0/16"
}

variable "proxy_port" {
  type        = number
  description = "Where the sidecar takes the mesh's traffic for the workload; module network lets proxies reach 8080"
  default     = 8080
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
  description = "The version of kuma-dp in kuma_dp_image, and of the control plane. It decides the form of the resource and of the role's tags, and the port of the proxy's health check. From 2.14 on Envoy's admin interface is a Unix socket, and port 9902 says whether the proxy is ready; up to 2.13 port 9901 does. With a wrong value the workload never starts, or, on 2.12, starts beside a proxy that the control plane refused"
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
  description = "CPU units of the task; the sidecar's containers ask for 192"
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

variable "ecs_exec" {
  type        = bool
  description = "Allow ECS Exec. Whoever may use it on this task has the identity of the service"
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
