CREATE TABLE `audit_events` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`at` integer NOT NULL,
	`user_id` text,
	`client_id` text,
	`grant_id` text,
	`reason` text
);
--> statement-breakpoint
CREATE INDEX `audit_events_at` ON `audit_events` (`at`);--> statement-breakpoint
ALTER TABLE `clients` ADD `kind` text DEFAULT 'dynamic' NOT NULL;--> statement-breakpoint
ALTER TABLE `clients` ADD `jwks_uri` text;