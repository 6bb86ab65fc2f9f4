#Requires -Version 7.0
<#
.SYNOPSIS
    Menu for Llama Runner: every entry runs one command of main.py through scripts/run.py.
.PARAMETER Entry
    Run this entry at once, without the menu, and exit with its exit code.
.PARAMETER Demo
    Use the demo engine and the demo model.
.EXAMPLE
    ./LaunchMenu.ps1
.EXAMPLE
    ./LaunchMenu.ps1 -Entry doctor
#>
[CmdletBinding()]
param(
    [ValidateSet('window', 'service', 'stop', 'doctor', 'tests', 'logs')]
    [string] $Entry,

    [switch] $Demo
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
# A command that fails is told by its exit code, not by an exception.
$PSNativeCommandUseErrorActionPreference = $false

$Scripts = Join-Path $PSScriptRoot 'scripts'

$Entries = [ordered]@{
    window  = @{ Text = 'Open the window'; Script = 'run.py'; Arguments = @() }
    service = @{ Text = 'Run the service without a window (Ctrl+C ends it)'; Script = 'run.py'; Arguments = @('--headless') }
    stop    = @{ Text = 'Stop the service'; Script = 'run.py'; Arguments = @('serve', '--stop') }
    doctor  = @{ Text = 'Check this installation'; Script = 'run.py'; Arguments = @('doctor') }
    tests   = @{ Text = 'Run all checks and tests'; Script = 'test.py'; Arguments = @() }
    logs    = @{ Text = 'Open the logs folder'; Script = 'run.py'; Arguments = @('logs', '--open') }
}

function Find-Python {
    # run.py itself looks for the right version; it only has to be started by any Python 3.
    foreach ($name in @('py', 'python3', 'python')) {
        $found = Get-Command -Name $name -CommandType Application -ErrorAction SilentlyContinue
        if ($found) {
            return $found[0].Source
        }
    }
    throw 'Python was not found. Install Python 3.11, 3.12 or 3.13, then start this menu again.'
}

function Invoke-Entry {
    param(
        [Parameter(Mandatory)]
        [hashtable] $Choice
    )

    $commandLine = @(Join-Path $Scripts $Choice.Script)
    if ($Demo -and $Choice.Script -eq 'run.py') {
        $commandLine += '--demo'
    }
    $commandLine += $Choice.Arguments
    & $script:Python @commandLine
}

function Show-Menu {
    Write-Host ''
    Write-Host 'Llama Runner'
    $number = 1
    foreach ($item in $Entries.Values) {
        Write-Host "  $number  $($item.Text)"
        $number++
    }
    Write-Host '  q  Quit'
}

$Python = Find-Python

if ($Entry) {
    Invoke-Entry -Choice $Entries[$Entry]
    exit $LASTEXITCODE
}

$lastCode = 0
while ($true) {
    Show-Menu
    $answer = (Read-Host 'Choose').Trim()
    if ($answer -eq 'q') {
        break
    }
    $number = 0
    if (-not [int]::TryParse($answer, [ref] $number) -or $number -lt 1 -or $number -gt $Entries.Count) {
        Write-Host "There is no entry '$answer'."
        continue
    }
    Invoke-Entry -Choice @($Entries.Values)[$number - 1]
    $lastCode = $LASTEXITCODE
    if ($lastCode -ne 0) {
        Write-Host "It ended with exit code $lastCode." -ForegroundColor Yellow
    }
}
exit $lastCode
