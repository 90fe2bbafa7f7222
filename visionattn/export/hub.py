"""Uploading an exported folder to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from visionattn.errors import ConfigError, VisionAttnError


def push(folder: Path, repository: str, private: bool) -> str:
    """Make the repository where there is none, and upload every file of the folder in one commit.

    The token is the Hub's own: ``HF_TOKEN`` in the environment, or what ``hf auth login`` stored.

    Args:
        folder: what an export wrote.
        repository: ``owner/name``.
        private: whether a new repository is private.

    Returns:
        The commit's address.

    Raises:
        ConfigError: no token, or no such repository name.
        VisionAttnError: the Hub refused, or could not be reached.
    """
    api = HfApi(library_name="visionattn")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Upload by visionattn export", ignore_patterns=[".*"]
        )
    except (HFValidationError, LocalTokenNotFoundError) as error:
        raise ConfigError(f"options.push_to_hub={repository}: {_first_line(error)}") from error
    except (HfHubHTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise ConfigError(
                f"the Hub knows no valid token for {repository}: set HF_TOKEN, or log in with `hf auth login`"
            ) from error
        raise VisionAttnError(
            f"{folder} is complete, but could not be uploaded to {repository}: {_first_line(error)}"
        ) from error
    return str(done.commit_url)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
