# The tag guard: config/iam/guard-*.json, attached to organisational units or accounts. Try it on a test unit first, and make the two
# exempt roles before (docs/how-to/guard-the-tags.md).

locals {
  iam = "${path.module}/../../../iam"
  policies = {
    guard-kuma-tags         = { type = "SERVICE_CONTROL_POLICY", file = "guard-tags-scp.json" }
    guard-kuma-session-tags = { type = "RESOURCE_CONTROL_POLICY", file = "guard-session-tags-rcp.json" }
  }
  attachments = {
    for pair in setproduct(keys(local.policies), var.targets) : "${pair[0]} ${pair[1]}" => { policy = pair[0], target = pair[1] }
  }
}

resource "aws_organizations_policy" "guard" {
  for_each = local.policies
  name     = each.key
  type     = each.value.type
  # Without the blanks: a policy has at most 5,120 characters.
  content = jsonencode(jsondecode(file("${local.iam}/${each.value.file}")))
}

resource "aws_organizations_policy_attachment" "guard" {
  for_each  = local.attachments
  policy_id = aws_organizations_policy.guard[each.value.policy].id
  target_id = each.value.target
}
