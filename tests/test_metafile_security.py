"""The security section: inline keys, security files, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from synap_core.metafile import Security
from tests.support.metafile_texts import load, marked, refusal

KEYS = ("encryption_key", "signature_key", "model_certificate", "vendor_certificate")
INLINE = "".join(f"  {key}: {key}.pem\n" for key in KEYS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the four key files."""
    for key in KEYS:
        (tmp_path / f"{key}.pem").touch()
    return tmp_path


def found(folder: Path, file: Path | None = None) -> Security:
    encryption, signature, model, vendor = (folder / f"{key}.pem" for key in KEYS)
    return Security(
        secure=True,
        file=file,
        encryption_key=encryption,
        signature_key=signature,
        model_certificate=model,
        vendor_certificate=vendor,
    )


@pytest.mark.parametrize("switch", ["", "  secure: true\n", "  secure:\n"], ids=["default", "true", "null"])
def test_keys_may_be_given_inline(folder: Path, switch: str) -> None:
    assert load(folder, f"security:\n{switch}{INLINE}").security == found(folder)


@pytest.mark.parametrize("rest", ["", "file: none.yaml", "bogus: [1]", "encryption_key: 5"])
def test_nothing_is_checked_when_security_is_off(folder: Path, rest: str) -> None:
    security = load(folder, f"security:\n  secure: false\n  {rest}\n").security
    assert security == Security(secure=False)


@pytest.mark.parametrize("text", ["", "security:"], ids=["absent", "null"])
def test_no_section_means_no_security(folder: Path, text: str) -> None:
    assert load(folder, text).security is None


def test_paths_in_a_security_file_start_at_its_folder(folder: Path) -> None:
    (folder / "metafiles").mkdir()
    file = folder / "security.yaml"
    file.write_text("".join(f"{key}: ./{key}.pem\n" for key in KEYS))
    security = load(folder / "metafiles", "security: {file: ../security.yaml}").security
    assert security == found(folder / "metafiles" / "..", folder / "metafiles" / ".." / "security.yaml")


def test_absolute_paths_and_variables_are_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", str(folder))
    file = folder / "deep" / "security.yaml"
    file.parent.mkdir()
    file.write_text("".join(f"{key}: ${{ENV:KEYS}}/{key}.pem\n" for key in KEYS))
    assert load(folder, f"security: {{file: {file}}}").security == found(folder, file)


UNKNOWN = "Invalid field(s): unknown key"
ALLOWED = ", ".join(("secure", "file", *KEYS))
TWICE = "a key file is named here or in the security file, not in both"
NO_MAPPING = "it must be a mapping of keys to values"
SYNTAX = "check indentation, brackets, colons and quotes"
HINT = f"give {', '.join(KEYS)}, here or in a security file named by 'file'"
REFUSED = {
    "empty": ("security: §{}", f"mandatory security fields are missing: {', '.join(KEYS)}; {HINT}"),
    "two keys": (
        "security:\n  §signature_key: signature_key.pem\n  model_certificate: model_certificate.pem\n",
        f"mandatory security fields are missing: encryption_key, vendor_certificate; {HINT}",
    ),
    "switch": (
        "security: {secure: §yes}",
        "'secure' must be true or false, not 'yes'; YAML 1.2 knows no other booleans",
    ),
    "misspelt key": (
        f"security:\n{INLINE}  §encryption-key: x\n",
        f"{UNKNOWN} 'encryption-key' in security; allowed: {ALLOWED}; did you mean 'encryption_key'?",
    ),
    "file and key": (
        "security: {file: s.yaml, §signature_key: x}",
        f"{UNKNOWN} 'signature_key' in security; allowed: secure, file; {TWICE}",
    ),
    "missing file": ("security: {file: §none.yaml}", "security file not found: none.yaml; check the path"),
    "folder": ("security: {file: §.}", "security file is a folder: {folder}; give a file inside it"),
    "file number": ("security: {file: §5}", "'file' must be a string, not an integer 5; put it in quotes"),
    "file empty": (
        "security: {file: §''}",
        "'file' must be the path of a file, not empty; a relative path starts at the folder of the file that names it",
    ),
    "missing key file": (
        f"security:\n{INLINE}".replace("model_certificate: m", "model_certificate: §none/m"),
        "model_certificate file not found: none/model_certificate.pem; check the path",
    ),
    "key list": (
        f"security:\n{INLINE}".replace("signature_key: s", "signature_key: §[a] #"),
        "'signature_key' must be a string, not a list ['a']; write one text",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sections_that_are_refused(folder: Path, case: str) -> None:
    text, reason = REFUSED[case]
    plain, place = marked(text)
    assert refusal(folder, plain) == f"{place}: {reason.format(folder=folder)}"


ALL = "".join(f"{key}: {key}.pem\n" for key in KEYS)
REFUSED_FILES = {
    "empty": ("§", f"mandatory security fields are missing: {', '.join(KEYS)}; {HINT}"),
    "three keys": (
        "§" + ALL.replace("signature_key: signature_key.pem\n", ""),
        f"mandatory security fields are missing: signature_key; {HINT}",
    ),
    "null key": (
        "§" + ALL.replace("signature_key: signature_key.pem", "signature_key:"),
        f"mandatory security fields are missing: signature_key; {HINT}",
    ),
    "extra key": (
        f"{ALL}§secure: true\n",
        f"Invalid field(s): unknown key 'secure' in the security file; allowed: {', '.join(KEYS)}",
    ),
    "number": (
        ALL.replace("signature_key: s", "signature_key: §7 #"),
        "'signature_key' must be a string, not an integer 7; put it in quotes",
    ),
    "missing key file": (
        ALL.replace("vendor_certificate: v", "vendor_certificate: §none/v"),
        "vendor_certificate file not found: none/vendor_certificate.pem; check the path",
    ),
    "list": (
        "§[a]",
        f"Invalid format for security file: {NO_MAPPING}, not a list; write 'key: value' lines",
    ),
    "syntax": (
        "a: b§: c",
        f"Error parsing security file: mapping values are not allowed here; {SYNTAX}",
    ),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_errors_in_a_security_file_point_into_it(folder: Path, case: str) -> None:
    text, reason = REFUSED_FILES[case]
    plain, place = marked(text, "s.yaml")
    (folder / "s.yaml").write_text(plain)
    assert refusal(folder, "security:\n  file: s.yaml\n") == f"{place}: {reason}"


def test_key_that_is_a_folder_is_refused(folder: Path) -> None:
    (folder / "signature_key.pem").unlink()
    (folder / "signature_key.pem").mkdir()
    assert "signature_key file is a folder: signature_key.pem" in refusal(folder, f"security:\n{INLINE}")


def test_error_in_a_security_file_is_counted_with_the_others(folder: Path) -> None:
    (folder / "s.yaml").write_text("bogus: 1\n")
    message = refusal(folder, "security: {file: s.yaml}\ndelegate: auto\n")
    assert message.startswith("s.yaml:1:1: Invalid field(s): unknown key 'bogus' in the security file")
    assert message.endswith(" (and 1 more)")
