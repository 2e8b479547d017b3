# Nothing is deployed from here: the modules are, see docs/terraform.md. This is the root of their tests (tests/).
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
