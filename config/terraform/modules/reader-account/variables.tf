# Written by `make templates` from config/cloudformation/reader-account.yaml, which has the comments. Change it there.

variable "service_role_arn" {
  type        = string
  description = "ARN of the service's role (output task_role_arn of module control-plane)"
  validation {
    condition     = can(regex("^(arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)$", var.service_role_arn))
    error_message = "service_role_arn must match arn:aws[a-z-]*:iam::[0-9]{12}:role/.+."
  }
}

variable "external_id" {
  type        = string
  description = "The external id that the service gives (reader_external_id of module control-plane)"
  validation {
    condition     = can(regex("^([\\w+=,.@:/-]{2,1224})$", var.external_id))
    error_message = "external_id must match [\\w+=,.@:/-]{2,1224}."
  }
}

variable "organization_id" {
  type        = string
  description = "Id of the organisation of both accounts"
  validation {
    condition     = can(regex("^(o-[a-z0-9]{10,32})$", var.organization_id))
    error_message = "organization_id must match o-[a-z0-9]{10,32}."
  }
}

variable "role_name" {
  type        = string
  description = "The name of the role (reader_role_name of module control-plane), the same in every account"
  default     = "kuma-reader"
}

variable "role_path" {
  type        = string
  description = "The path under which the service may read roles; / for every role"
  default     = "/mesh/"
  validation {
    condition     = can(regex("^(/([A-Za-z0-9_.-]+/)*)$", var.role_path))
    error_message = "role_path must match /([A-Za-z0-9_.-]+/)*."
  }
}
