// SPDX-License-Identifier: Apache-2.0

package changes

// kin is one kind of what is always asked about, whoever made it: a file that
// some program obeys, so that writing it does more than to be there.
type kin struct {
	why      string
	patterns []string // see CheckPattern
	beside   []string // names that are in the same directory as the match; none: anywhere
}

// protected are the rows. A name that is above a pattern, such as .git, is
// protected where it is no directory: a link or file there stands for all that
// is beneath.
var protected = []kin{
	{why: "git runs its hooks", patterns: []string{"**/.git/hooks", "**/.git/modules", "**/.githooks", "**/.husky"}},
	{why: "git's configuration names programs that git runs", patterns: []string{
		"**/.git/config", "**/.git/config.worktree", "**/.git/worktrees", "**/.git/commondir", "**/.git/info/attributes", "**/.git/objects/info/alternates",
		"**/.gitconfig", "**/.config/git", "**/.gitmodules", "**/.gitattributes",
	}},
	{why: "it makes the directory a git repository, with hooks and configuration of its own", beside: []string{"HEAD", "objects", "refs"}, patterns: []string{
		"**/HEAD", "**/objects", "**/refs", "**/config", "**/config.worktree", "**/hooks", "**/modules", "**/commondir",
	}},
	{why: "it makes the directory a git repository, whose hooks and configuration are elsewhere", beside: []string{"HEAD", "commondir"}, patterns: []string{"**/HEAD", "**/commondir"}},
	{why: "git goes on with what it says, and that may be a command", patterns: []string{"**/.git/rebase-merge", "**/.git/rebase-apply", "**/.git/sequencer"}},
	{why: "git fetches from where it says, and pushes to there", patterns: []string{"**/.git/remotes", "**/.git/branches"}},
	{why: "a version control system runs what it says", patterns: []string{"**/.hg/hgrc", "**/.hg/hgrc-not-shared", "**/.hg/sharedpath", "**/.hgrc", "**/.config/hg", "**/.subversion", "**/.jj", "**/.config/jj"}},
	{why: "ssh trusts it", patterns: []string{"**/.ssh"}},
	{why: "keys and passwords are kept in it, or taken from it", patterns: []string{
		"**/.netrc", "**/.pypirc", "**/.git-credentials", "**/.gnupg", "**/.aws", "**/.kube", "**/.docker", "**/.pgpass", "**/.my.cnf", "**/.config/gh", "**/.rhosts", "**/.shosts", "**/.k5login",
	}},
	{why: "a shell runs it when it starts or ends", patterns: []string{
		"**/.profile", "**/.bashrc", "**/.bash_profile", "**/.bash_login", "**/.bash_logout", "**/.bash_aliases", "**/.zshrc", "**/.zshenv",
		"**/.zprofile", "**/.zlogin", "**/.zlogout", "**/.kshrc", "**/.mkshrc", "**/.shrc", "**/.cshrc", "**/.tcshrc", "**/.login", "**/.logout",
		"**/.inputrc", "**/.config/fish", "**/.xinitrc", "**/.xprofile", "**/.xsession", "**/.xsessionrc", "**/.pam_environment", "**/.config/environment.d", "**/.config/nushell", "**/.config/powershell", "**/.xonshrc", "**/.config/xonsh", "**/.config/elvish",
	}},
	{why: "mail is given to programs that it names", patterns: []string{"**/.forward", "**/.procmailrc", "**/.mailcap"}},
	{why: "a desktop runs what it says", patterns: []string{
		"**/*.desktop", "**/.config/mimeapps.list", "**/.config/plasma-workspace", "**/.config/i3", "**/.config/sway", "**/.config/hypr", "**/.config/openbox", "**/.config/awesome",
		"**/.config/bspwm", "**/.config/sxhkd", "**/.xbindkeysrc", "**/.fluxbox",
	}},
	{why: "it sets the environment of what is run in the directory", patterns: []string{"**/.envrc", "**/.env", "**/.direnv", "**/.mise.toml", "**/mise.toml", "**/.tool-versions"}},
	{why: "it is run by the clock or at login", patterns: []string{
		"**/crontab", "**/.crontab", "**/cron.d", "**/cron.hourly", "**/cron.daily", "**/cron.weekly", "**/cron.monthly",
		"**/.config/systemd", "**/.local/share/systemd", "**/.config/autostart", "**/.local/share/applications", "**/.local/share/dbus-1",
	}},
	{why: "programs in it go before the system's", patterns: []string{"**/.local/bin"}},
	{why: "an editor runs what it says", patterns: []string{
		"**/.vscode", "**/*.code-workspace", "**/.idea", "**/.fleet", "**/.zed", "**/.devcontainer", "**/.devcontainer.json", "**/.vimrc", "**/.exrc", "**/.nvimrc",
		"**/.nvim.lua", "**/.vim", "**/.config/nvim", "**/.emacs", "**/.emacs.d", "**/.dir-locals.el", "**/*.sublime-project", "**/.gvimrc", "**/.ideavimrc", "**/.helix",
		"**/.vscode-server", "**/.config/Code", "**/.config/VSCodium", "**/.config/Cursor", "**/.config/zed", "**/.config/helix", "**/.config/emacs", "**/.config/sublime-text",
	}},
	{why: "it names programs that an agent starts", patterns: []string{"**/.mcp.json", "**/mcp.json"}},
	{why: "an agent takes instructions or settings from it", patterns: []string{
		"**/SOUL.md", "**/AGENTS.md", "**/AGENTS.override.md", "**/AGENT.md", "**/MEMORY.md", "**/IDENTITY.md", "**/USER.md", "**/TOOLS.md", "**/HEARTBEAT.md", "**/BOOTSTRAP.md", "**/BOOT.md",
		"**/CLAUDE.md", "**/CLAUDE.local.md", "**/GEMINI.md", "**/.claude", "**/.claude.json", "**/.codex", "**/.gemini", "**/.cursor", "**/.cursorrules", "**/.windsurf", "**/.windsurfrules",
		"**/.clinerules", "**/.aider.conf.yml", "**/.github/copilot-instructions.md", "**/.github/instructions", "**/.github/prompts", "**/.openclaw", "**/openclaw.json", "**/.clawsup", "**/.agents",
		"**/.opencode", "**/opencode.json", "**/opencode.jsonc", "**/.kiro", "**/.roo", "**/.roorules", "**/.roomodes", "**/.continue", "**/.junie", "**/.amazonq", "**/.goose", "**/.goosehints", "**/WARP.md", "**/.github/agents",
	}},
	{why: "it is a skill's own folder", patterns: []string{"**/SKILL.md"}},
	{why: "it is a skill's own folder", beside: []string{"SKILL.md"}, patterns: []string{"**/*"}},
	{why: "a server that builds the project runs what it says", patterns: []string{
		"**/.github/workflows", "**/.github/actions", "**/.gitlab-ci.yml", "**/.gitlab", "**/.circleci", "**/.travis.yml", "**/azure-pipelines.yml", "**/bitbucket-pipelines.yml",
		"**/Jenkinsfile", "**/.drone.yml", "**/.woodpecker", "**/.woodpecker.yml", "**/.buildkite", "**/.forgejo", "**/.gitea", "**/appveyor.yml", "**/.appveyor.yml",
		"**/.pre-commit-config.yaml", "**/.pre-commit-config.yml", "**/.lefthook.yml", "**/lefthook.yml",
	}},
	{why: "a tool that builds the project runs what it says", patterns: []string{
		"**/Makefile", "**/GNUmakefile", "**/*.mk", "**/CMakeLists.txt", "**/meson.build", "**/build.ninja", "**/SConstruct", "**/Justfile", "**/.justfile", "**/Taskfile.yml", "**/Taskfile.yaml",
		"**/Rakefile", "**/Gemfile", "**/*.gemspec", "**/build.gradle", "**/build.gradle.kts", "**/settings.gradle", "**/settings.gradle.kts", "**/gradlew", "**/.mvn", "**/mvnw", "**/pom.xml",
		"**/build.rs", "**/.cargo", "**/Cargo.toml", "**/WORKSPACE", "**/BUILD.bazel", "**/MODULE.bazel", "**/.bazelrc", "**/Dockerfile", "**/docker-compose.yml", "**/compose.yaml", "**/Vagrantfile", "**/Procfile",
		"**/docker-compose.yaml", "**/docker-compose.override.yml", "**/docker-compose.override.yaml", "**/compose.yml", "**/compose.override.yml", "**/compose.override.yaml", "**/Containerfile", "**/*.dockerfile",
		"**/*.gradle", "**/*.gradle.kts", "**/gradle.properties", "**/gradle-wrapper.properties", "**/gradle-wrapper.jar", "**/*.sbt", "**/build.sc", "**/mix.exs", "**/rebar.config", "**/Package.swift", "**/Podfile", "**/Fastfile",
		"**/*.csproj", "**/*.fsproj", "**/*.vbproj", "**/*.vcxproj", "**/*.props", "**/*.targets", "**/NuGet.config", "**/BUILD", "**/*.bzl", "**/*.cmake", "**/CMakePresets.json", "**/configure", "**/configure.ac", "**/autogen.sh",
		"**/*.rake", "**/.bundle", "**/.rspec", "**/.rubocop.yml", "**/Guardfile", "**/rust-toolchain", "**/rust-toolchain.toml", "**/wscript", "**/flake.nix", "**/shell.nix", "**/default.nix", "**/Earthfile", "**/Tiltfile",
	}},
	{why: "its scripts are run by npm and its relatives", patterns: []string{
		"**/package.json", "**/.npmrc", "**/.yarnrc", "**/.yarnrc.yml", "**/.yarn/plugins", "**/.yarn/releases", "**/.pnpmfile.cjs", "**/pnpm-workspace.yaml", "**/bunfig.toml", "**/deno.json", "**/deno.jsonc", "**/composer.json", "**/nodemon.json", "**/lerna.json", "**/nx.json", "**/turbo.json",
	}},
	{why: "Python runs it by itself, or a tool of Python's does", patterns: []string{
		"**/conftest.py", "**/sitecustomize.py", "**/usercustomize.py", "**/*.pth", "**/setup.py", "**/setup.cfg", "**/pyproject.toml", "**/tox.ini", "**/noxfile.py", "**/pytest.ini",
		"**/.pythonrc", "**/.pdbrc", "**/pip.conf", "**/.config/pip", "**/.pip", "**/.ipython", "**/.jupyter",
		"**/.pylintrc", "**/pylintrc", "**/mypy.ini", "**/.mypy.ini", "**/.flake8", "**/.coveragerc", "**/tasks.py", "**/fabfile.py", "**/dodo.py",
	}},
	{why: "a tool runs what its configuration says", patterns: []string{
		"**/*.config.js", "**/*.config.cjs", "**/*.config.mjs", "**/*.config.ts", "**/*.config.mts", "**/*.config.cts", "**/.eslintrc.js", "**/.eslintrc.cjs", "**/.prettierrc.js", "**/.prettierrc.cjs", "**/.babelrc",
		"**/.babelrc.js", "**/.mocharc.js", "**/.mocharc.cjs", "**/Gruntfile.js", "**/gulpfile.js", "**/.gdbinit", "**/.lldbinit", "**/.irbrc", "**/.pryrc", "**/.Rprofile", "**/.perltidyrc", "**/.tmux.conf", "**/.screenrc", "**/.config/direnv",
		"**/.eslintrc", "**/.eslintrc.json", "**/.eslintrc.yml", "**/.eslintrc.yaml", "**/.prettierrc", "**/.lintstagedrc", "**/.lintstagedrc.json", "**/.psqlrc", "**/.sqliterc", "**/.mongorc.js", "**/.mongoshrc.js", "**/.ghci", "**/.octaverc",
		"**/.julia", "**/.Renviron", "**/.gdbearlyinit", "**/.config/tmux", "**/.config/kitty", "**/.config/alacritty", "**/.config/wezterm", "**/.wezterm.lua", "**/ansible.cfg", "**/.ansible", "**/.ansible.cfg", "**/.terraformrc", "**/.curlrc", "**/.wgetrc",
	}},
}
