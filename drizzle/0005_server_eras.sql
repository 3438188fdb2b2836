CREATE TABLE `server_eras` (
	`server` text PRIMARY KEY NOT NULL,
	`key` text NOT NULL,
	`era` text NOT NULL,
	`discover` blob,
	`judged_at` integer NOT NULL
);
