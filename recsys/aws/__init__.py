"""Stores on AWS: S3, DynamoDB and SQS behind the protocols of the embedded ones. Translates, and decides nothing."""
