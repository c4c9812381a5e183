# The reader role of another account: the policies of config/iam/reader-role-*.json, with the values of this account.

data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  iam    = "${path.module}/../../../iam"
  trust  = jsondecode(file("${local.iam}/reader-role-trust.json"))
  policy = jsondecode(file("${local.iam}/reader-role-policy.json"))
}

resource "aws_iam_role" "reader" {
  name        = var.role_name
  description = "Reads the tags of the roles of workloads for the service of a Kuma control plane"
  assume_role_policy = jsonencode(merge(local.trust, {
    Statement = [for statement in local.trust.Statement : merge(statement, {
      Principal = { AWS = var.service_role_arn }
      Condition = {
        StringEquals = {
          "sts:ExternalId"     = var.external_id
          "aws:PrincipalOrgID" = var.organization_id
        }
      }
    })]
  }))
}

resource "aws_iam_role_policy" "reader" {
  role = aws_iam_role.reader.name
  name = "read-role-tags"
  policy = jsonencode(merge(local.policy, {
    Statement = [for statement in local.policy.Statement : merge(statement, {
      Resource = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:role${var.role_path}*"
    })]
  }))
}
